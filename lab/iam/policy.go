// Package iam judges requests by identity-based policies as IAM does, as far as the policies of failoverd go. What it does not know is
// an error when a policy is read, so that nothing is allowed, or refused, by a word that was passed over.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
package iam

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Request is one question to IAM: a call may ask several.
type Request struct {
	Action   string              `json:"action"`   // "ecs:UpdateService"
	Resource string              `json:"resource"` // an ARN, or "*" where the action knows no resource
	Keys     map[string][]string `json:"keys,omitempty"`
}

// Any is the resource of an action that knows none.
const Any = "*"

// List is one string or several, as policies have it.
type List []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *List) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = List{one}
		return nil
	}
	var all []string
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("neither a string nor a list of them: %w", err)
	}
	*l = all
	return nil
}

// Statement is one of a policy.
type Statement struct {
	Sid       string
	Effect    string
	Action    List
	Resource  List
	Condition map[string]map[string]List
}

// Policy is an identity-based one.
type Policy struct {
	Version   string
	Statement []Statement
}

// set is what a condition's operator begins with when all values of a request must be among its own.
const set = "ForAllValues:"

// operators compare a value of the request with a pattern of the policy.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
var operators = map[string]func(pattern, value string) bool{
	"StringEquals": func(pattern, value string) bool { return pattern == value },
	"StringLike":   glob,
	"ArnLike":      arnLike,
}

// Parse reads a policy.
func Parse(text []byte) (Policy, error) {
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields() // NotAction, NotResource, Principal
	var p Policy
	if err := dec.Decode(&p); err != nil {
		return Policy{}, fmt.Errorf("policy: %w", err)
	}
	if p.Version != "2012-10-17" {
		return Policy{}, fmt.Errorf("policy: version %q", p.Version)
	}
	for i, s := range p.Statement {
		if err := s.check(); err != nil {
			return Policy{}, fmt.Errorf("policy: statement %d: %w", i+1, err)
		}
	}
	return p, nil
}

func (s Statement) check() error {
	if s.Effect != "Allow" && s.Effect != "Deny" {
		return fmt.Errorf("effect %q", s.Effect)
	}
	if len(s.Action) == 0 || len(s.Resource) == 0 {
		return errors.New("it lacks actions or resources")
	}
	words := append(append(List{}, s.Action...), s.Resource...)
	for op, keys := range s.Condition {
		if operators[strings.TrimPrefix(op, set)] == nil {
			return fmt.Errorf("operator %q is not known here", op)
		}
		for _, values := range keys {
			words = append(words, values...)
		}
	}
	for _, w := range words {
		if strings.Contains(w, "${") {
			return fmt.Errorf("%q: variables are not known here", w)
		}
	}
	return nil
}

// Allows says whether the policies of one identity allow a request: one must, and none may deny it.
func Allows(policies []Policy, r Request) bool {
	allowed := false
	for _, p := range policies {
		for _, s := range p.Statement {
			if !s.Matches(r) {
				continue
			}
			if s.Effect == "Deny" {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

// Spare is what nobody needs of a policy: actions and resources of statements that are about none of the requests.
func (p Policy) Spare(needed []Request) (out []string) {
	for _, s := range p.Statement {
		unused := func(narrowed Statement) bool { return !slices.ContainsFunc(needed, narrowed.Matches) }
		for _, a := range s.Action {
			if unused(s.with(List{a}, s.Resource)) {
				out = append(out, a+" on "+strings.Join(s.Resource, ", "))
			}
		}
		for _, r := range s.Resource {
			if len(s.Resource) > 1 && unused(s.with(s.Action, List{r})) {
				out = append(out, "resource "+r)
			}
		}
	}
	return out
}

func (s Statement) with(actions, resources List) Statement {
	s.Action, s.Resource = actions, resources
	return s
}

// Matches says whether the statement is about the request.
func (s Statement) Matches(r Request) bool {
	if !slices.ContainsFunc(s.Action, func(a string) bool { return glob(strings.ToLower(a), strings.ToLower(r.Action)) }) ||
		!slices.ContainsFunc(s.Resource, func(a string) bool { return glob(a, r.Resource) }) {
		return false
	}
	for op, keys := range s.Condition {
		compare, all := strings.CutPrefix(op, set)
		for key, patterns := range keys {
			if !holds(operators[compare], all, patterns, valuesOf(r, key)) {
				return false
			}
		}
	}
	return true
}

// holds is a condition about one key. One that the request lacks does not hold, but with ForAllValues, of whose none is wrong.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
func holds(same func(pattern, value string) bool, all bool, patterns, values []string) bool {
	n := 0
	for _, v := range values {
		if slices.ContainsFunc(patterns, func(p string) bool { return same(p, v) }) {
			n++
		}
	}
	if all {
		return n == len(values)
	}
	return n > 0
}

// valuesOf finds a key, whose name knows no case.
func valuesOf(r Request, key string) []string {
	for k, v := range r.Keys {
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return nil
}

// glob matches * with any text, colons and slashes included, and ? with one character.
func glob(pattern, text string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			for i := len(text); i >= 0; i-- {
				if glob(pattern[1:], text[i:]) {
					return true
				}
			}
			return false
		case text == "", pattern[0] != '?' && pattern[0] != text[0]:
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
	return text == ""
}

// arnLike compares ARNs part by part: "Each of the six colon-delimited components of the ARN is checked separately".
func arnLike(pattern, value string) bool {
	const parts = 6
	p, v := strings.SplitN(pattern, ":", parts), strings.SplitN(value, ":", parts)
	if len(p) != parts || len(v) != parts {
		return false
	}
	for i := range p {
		if !glob(p[i], v[i]) {
			return false
		}
	}
	return true
}

// Dir is where the policies of the roles lie in the directory of a world.
const Dir = "iam"

// Load reads the policies of each role of a directory, ROLE/NAME.json. Where there is no such directory, nobody is judged: nil.
func Load(dir string) (map[string][]Policy, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	var roles map[string][]Policy
	if _, err := os.Stat(dir); err == nil {
		roles = map[string][]Policy{}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		p, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		role := filepath.Base(filepath.Dir(f))
		roles[role] = append(roles[role], p)
	}
	return roles, nil
}
