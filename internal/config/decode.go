package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// decoder fills typed values from parsed TOML. It is stricter than the
// library's own decoding, and it does not stop at the first mistake: a person
// who edits a file at night should have to read one list.
type decoder struct {
	file   string
	pos    positions
	errors Errors
}

func (d *decoder) add(path, value, hint, format string, args ...any) {
	d.errors = append(d.errors, &FieldError{
		File: d.file, Line: d.pos.line(path), Path: path, Value: value, Msg: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// parse reads TOML into generic values. A syntax error is the only error then.
func (d *decoder) parse(data []byte) map[string]any {
	tree := map[string]any{}
	if err := toml.Unmarshal(data, &tree); err != nil {
		e := &FieldError{File: d.file, Msg: err.Error()}
		if de, ok := errors.AsType[*toml.DecodeError](err); ok {
			e.Line, _ = de.Position()
			e.Msg = "this is not TOML: " + trimPrefix(de.Error(), "toml: ")
		}
		d.errors = append(d.errors, e)
		return nil
	}
	d.pos = index(data)
	return tree
}

func trimPrefix(s, prefix string) string {
	if len(s) > len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):]
	}
	return s
}

func (d *decoder) value(path string, v any, into reflect.Value) {
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		d.value(path, v, into.Elem())
		return
	}
	if into.CanAddr() {
		if u, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
			d.text(path, v, u)
			return
		}
	}
	switch into.Kind() {
	case reflect.Struct:
		d.table(path, v, into)
	case reflect.Map:
		d.mapping(path, v, into)
	case reflect.Slice:
		d.list(path, v, into)
	case reflect.String:
		if s, ok := v.(string); ok {
			into.SetString(s)
			return
		}
		d.wrongType(path, v, "a text in quotes")
	case reflect.Int:
		if n, ok := v.(int64); ok {
			into.SetInt(n)
			return
		}
		d.wrongType(path, v, "a whole number")
	case reflect.Float64:
		switch n := v.(type) {
		case int64:
			into.SetFloat(float64(n))
			return
		case float64:
			if !math.IsInf(n, 0) && !math.IsNaN(n) { // TOML knows inf and nan, JSON does not
				into.SetFloat(n)
				return
			}
		}
		d.wrongType(path, v, "a number")
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			into.SetBool(b)
			return
		}
		d.wrongType(path, v, "true or false")
	default:
		panic("config: no decoding for " + into.Type().String())
	}
}

func (d *decoder) wrongType(path string, v any, want string) {
	d.add(path, fmt.Sprint(v), "", "%v is not %s", show(v), want)
}

// show renders a value as the file has it, shortened.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	}
	return fmt.Sprint(v)
}

func (d *decoder) text(path string, v any, u encoding.TextUnmarshaler) {
	s, ok := v.(string)
	if !ok {
		d.wrongType(path, v, "a text in quotes")
		return
	}
	if err := u.UnmarshalText([]byte(s)); err != nil {
		d.add(path, s, "", "%v", err)
	}
}

func (d *decoder) table(path string, v any, into reflect.Value) {
	t, ok := v.(map[string]any)
	if !ok {
		d.wrongType(path, v, "a table")
		return
	}
	fields := map[string]reflect.Value{}
	collect(into, fields)
	for _, key := range slices.Sorted(maps.Keys(t)) {
		p := join(path, key)
		f, ok := fields[key]
		if !ok {
			d.add(p, "", didYouMean(key, slices.Collect(maps.Keys(fields))), "is not a known key")
			continue
		}
		d.value(p, t[key], f)
	}
}

// collect finds the fields by key, embedded structs included.
func collect(v reflect.Value, into map[string]reflect.Value) {
	for f, fv := range v.Fields() {
		if f.Anonymous {
			collect(fv, into)
		} else if key := f.Tag.Get("toml"); key != "" {
			into[key] = fv
		}
	}
}

func (d *decoder) mapping(path string, v any, into reflect.Value) {
	t, ok := v.(map[string]any)
	if !ok {
		d.wrongType(path, v, "a table")
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, key := range slices.Sorted(maps.Keys(t)) {
		e := reflect.New(into.Type().Elem()).Elem()
		d.value(join(path, key), t[key], e)
		into.SetMapIndex(reflect.ValueOf(key).Convert(into.Type().Key()), e)
	}
}

func (d *decoder) list(path string, v any, into reflect.Value) {
	l, ok := v.([]any)
	if !ok {
		d.wrongType(path, v, "a list in brackets")
		return
	}
	out := reflect.MakeSlice(into.Type(), len(l), len(l))
	for i, e := range l {
		d.value(path, e, out.Index(i))
	}
	into.Set(out)
}
