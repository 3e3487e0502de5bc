package fence

import (
	"context"
	"errors"
	"time"
)

// Hedged asks for one answer over several ways. The next way is tried when one has
// failed, or has not answered for a while: the earlier ones go on, and the first
// answer counts. A way that swallows what is sent – a node behind a cut – costs that
// while and not the answer. Every way must carry the same request, so that it does no
// harm when two arrive. It returns when it has an answer, all ways have failed or ctx
// ends; what is still under way is told to stop.
func Hedged[Way, R any](ctx context.Context, ways []Way, after time.Duration, ask func(context.Context, Way) (R, error)) (none R, err error) {
	if len(ways) == 0 {
		return none, errors.New("there is nobody to ask")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		ans R
		err error
	}
	results := make(chan result, len(ways))
	under := 0
	next := func() {
		if len(ways) == 0 {
			return
		}
		way := ways[0]
		ways = ways[1:]
		under++
		go func() {
			ans, err := ask(ctx, way)
			results <- result{ans, err}
		}()
	}
	next()
	late := time.NewTicker(after)
	defer late.Stop()
	var errs []error
	for under > 0 {
		select {
		case <-ctx.Done():
			return none, errors.Join(append(errs, ctx.Err())...)
		case <-late.C:
			next()
		case r := <-results:
			if under--; r.err == nil {
				return r.ans, nil
			}
			errs = append(errs, r.err)
			next()
		}
	}
	return none, errors.Join(errs...)
}
