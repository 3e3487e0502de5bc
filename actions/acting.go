package actions

import (
	"context"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/internal/cloud"
)

// acting is the context of a call that changes the world: nothing is sent after
// until, and AWS's own records name whose call it was.
func acting(ctx context.Context, a Attempt, until time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadline(a.acts(cloud.WithEffectDeadline(ctx, until)), until)
}

// acts has calls made in the attempt's session of the acting role.
func (a Attempt) acts(ctx context.Context) context.Context {
	return cloud.WithSession(ctx, a.session(), string(a.Near))
}

// session is the name of an attempt in AWS's records.
func (a Attempt) session() string {
	if a.Execution == 0 { // a standing hold
		return fmt.Sprintf("failoverd-hold-%d-%s", a.Token, a.Step)
	}
	return fmt.Sprintf("failoverd-%d-%s", a.Execution, a.Step)
}
