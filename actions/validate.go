package actions

import "fmt"

// paramError names the parameter that is wrong. Field lets the configuration
// point at its line.
type paramError struct{ field, msg string }

func (e *paramError) Error() string { return e.field + ": " + e.msg }

// Field is the parameter's key.
func (e *paramError) Field() string { return e.field }

// Message is the error without the key.
func (e *paramError) Message() string { return e.msg }

func badParam(field, format string, args ...any) error {
	return &paramError{field, fmt.Sprintf(format, args...)}
}
