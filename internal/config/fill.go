package config

import (
	"reflect"
	"regexp"
	"strings"

	"github.com/failoverd/failoverd/failover"
)

// fill returns a deep copy of a kind's configuration with {region} and {node}
// filled in. An empty node leaves {node} as it is.
func fill[T any](v T, region failover.Region, node failover.NodeID) T {
	pairs := []string{"{region}", string(region)}
	if node != "" {
		pairs = append(pairs, "{node}", string(node))
	}
	r := strings.NewReplacer(pairs...)
	out := reflect.New(reflect.TypeOf(&v).Elem()).Elem()
	out.Set(copyStrings(reflect.ValueOf(v), r.Replace))
	return out.Interface().(T) //nolint:forcetypeassert // made from T two lines above
}

// copyStrings copies v deeply and passes each string through f. Map keys stay.
func copyStrings(v reflect.Value, f func(string) string) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(copyStrings(v.Elem(), f))
		return out
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		for i := range v.NumField() {
			out.Field(i).Set(copyStrings(v.Field(i), f))
		}
		return out
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(copyStrings(v.Index(i), f))
		}
		return out
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), copyStrings(it.Value(), f))
		}
		return out
	case reflect.String:
		return reflect.ValueOf(f(v.String())).Convert(v.Type())
	case reflect.Interface:
		return copyStrings(v.Elem(), f)
	}
	return v
}

// strayPlaceholder finds something like {regoin} in the strings of v.
func strayPlaceholder(v any) string {
	word := regexp.MustCompile(`\{[a-z_]+\}`)
	found := ""
	copyStrings(reflect.ValueOf(v), func(s string) string {
		if m := word.FindString(s); m != "" && found == "" {
			found = m
		}
		return s
	})
	return found
}

// kind is one way of seeing, stopping, starting, moving or checking that is set.
type kind[C any] struct {
	Name   string
	Config C
}

// kindsOf lists the kinds that are set in a struct of kinds, in its order.
func kindsOf[C any](kinds any) []kind[C] {
	var out []kind[C]
	for f, v := range reflect.ValueOf(kinds).Fields() {
		if v.Kind() != reflect.Pointer || v.IsNil() {
			continue
		}
		if c, ok := v.Interface().(C); ok {
			out = append(out, kind[C]{Name: f.Tag.Get("toml"), Config: c})
		}
	}
	return out
}

// kindNames lists all kinds of a struct of kinds.
func kindNames(kinds any) []string {
	var out []string
	for f := range reflect.TypeOf(kinds).Fields() {
		out = append(out, f.Tag.Get("toml"))
	}
	return out
}
