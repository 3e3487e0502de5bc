package probes

import "testing"

// A function can be invoked when it is Active and no update has failed, and is when its
// mappings are Enabled.
func TestLambdaCheck(t *testing.T) {
	a, d := newAPI(t)
	fn := func(state, update string) map[string]any {
		return map[string]any{"State": state, "StateReason": "says why", "StateReasonCode": "Code", "LastUpdateStatus": update, "LastUpdateStatusReason": "the image is gone", "LastUpdateStatusReasonCode": "ImageDeleted"}
	}
	mappings := func(all ...string) func(call) any { // one for each page, behind an empty one
		return func(in call) any {
			page := 0
			if m := in.r.URL.Query().Get("Marker"); m != "" {
				page = len(m)
			}
			out := map[string]any{"EventSourceMappings": []any{}}
			if page > 0 {
				out["EventSourceMappings"] = []any{map[string]any{"UUID": "u", "State": all[page-1], "StateTransitionReason": "USER_INITIATED", "LastProcessingResult": "OK"}}
			}
			if page < len(all) {
				out["NextMarker"] = "xxxxx"[:page+1]
			}
			return out
		}
	}
	c := &LambdaCheckConfig{Functions: []string{"events"}, EventSource: true}
	for _, tt := range []struct {
		state, update string
		mappings      []string
		want          Status
		detail        string
	}{
		{"Active", "Successful", []string{"Enabled", "Enabled"}, Pass, "events in us-east-1 is Active, 2 of 2 event source mappings are Enabled"},
		{"Active", "Successful", []string{"Enabled", "Enabling"}, Fail, "mapping u is Enabling (USER_INITIATED)"},
		{"Active", "Successful", []string{"Disabled"}, Fail, "is Active, but mapping u is Disabled"},
		{"Active", "Successful", nil, Fail, "has no event source mapping: nothing starts it"},
		{"Active", "InProgress", []string{"Enabled"}, Fail, "is being updated"},
		{"Active", "Failed", []string{"Enabled"}, Fail, "was not updated: Failed (ImageDeleted: the image is gone)"},
		{"Pending", "Successful", []string{"Enabled"}, Fail, "is Pending (Code: says why)"},
		{"Failed", "Successful", []string{"Enabled"}, Fail, "is Failed"},
		{"Inactive", "Successful", []string{"Enabled"}, Fail, "is Inactive (says why): it has been idle for long, and its first invocation fails"},
	} {
		a.says("GetFunctionConfiguration", fn(tt.state, tt.update))
		a.on("ListEventSourceMappings", mappings(tt.mappings...))
		verify(t, mustCheck(t, c, d), tt.want, tt.detail)
	}
	a.says("GetFunctionConfiguration", fn("Active", "Successful"))
	a.says("ListEventSourceMappings", map[string]any{"EventSourceMappings": []any{map[string]any{"UUID": "u", "State": "Enabled", "LastProcessingResult": "PROBLEM: Function call failed"}}})
	verify(t, mustCheck(t, c, d), Fail, `its last result is "PROBLEM: Function call failed"`)
	verify(t, mustCheck(t, &LambdaCheckConfig{Functions: []string{"events"}}, d), Pass, "events in us-east-1 is Active")

	dry := &LambdaCheckConfig{Functions: []string{"events"}, DryRun: true}
	a.says("Invoke DryRun", nil)
	verify(t, mustCheck(t, dry, d), Pass, "is Active, may be invoked")
	a.says("Invoke DryRun", failed("AccessDeniedException"))
	verify(t, mustCheck(t, dry, d), Unknown, "may not be invoked by this node: Invoke (a dry run) was answered with AccessDeniedException")
	for _, called := range a.calls {
		if called == "Invoke " || called == "Invoke RequestResponse" {
			t.Error("a function was run")
		}
	}
	// All are looked at, and one that is ill outweighs one that cannot be seen.
	a.on("GetFunctionConfiguration", func(in call) any {
		if in.r.URL.Path == "/2015-03-31/functions/gone/configuration" {
			return failed("ResourceNotFoundException")
		}
		return fn("Failed", "Successful")
	})
	verify(t, mustCheck(t, &LambdaCheckConfig{Functions: []string{"gone"}}, d), Unknown, "gone in us-east-1 is not to be seen: GetFunctionConfiguration was answered with ResourceNotFoundException")
	verify(t, mustCheck(t, &LambdaCheckConfig{Functions: []string{"ill", "gone"}}, d), Fail, "ill in us-east-1 is Failed (Code: says why); gone in us-east-1 is not to be seen")
	a.says("GetFunctionConfiguration", fn("Active", "Successful"))
	for _, op := range []string{"ListEventSourceMappings", "GetFunctionConfiguration"} {
		unread(t, a, op, d, c)
	}
	refused(t, map[string]*LambdaCheckConfig{
		"functions: is empty":            {},
		"functions: holds an empty name": {Functions: []string{""}},
		`"arn:x" is an ARN`:              {Functions: []string{"arn:x"}},
		`functions: "f" is listed twice`: {Functions: []string{"f", "f"}},
		"within: -1ns is negative":       {Functions: []string{"f"}, For: -1},
	})
}
