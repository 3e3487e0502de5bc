package actions

import (
	"context"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/internal/cloud"
)

// acting is the context of a call that changes the world: nothing is sent after
// until, and AWS's own records name whose call it was.
func acting(ctx context.Context, session string, until time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadline(cloud.WithSession(cloud.WithEffectDeadline(ctx, until), session), until)
}

// session is the name of an attempt in AWS's records.
func (a Attempt) session() string {
	if a.Execution == 0 { // a standing hold
		return fmt.Sprintf("failoverd-hold-%d-%s", a.Token, a.Step)
	}
	return fmt.Sprintf("failoverd-%d-%s", a.Execution, a.Step)
}
