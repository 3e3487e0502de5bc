package app

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gorilla/websocket"

	"github.com/failoverd/failoverd/lab/ctl"
	"github.com/failoverd/failoverd/lab/faults"
)

// SiteEnv names, in a task's environment, the site whose control socket knows the faults of the service "app".
const SiteEnv = "LAB_SITE"

// broken asks the region's control socket which fault hits an operation of the application; ok is false if none does. A task
// is a process of its own: the faults are not in it.
func broken(ctx context.Context, world, op string) (f faults.Fault, ok bool) {
	site := os.Getenv(SiteEnv)
	if site == "" {
		return f, false // outside a world
	}
	var all []faults.Fault
	if err := ctl.Dial(filepath.Join(world, "ctl", site+".sock")).Call(ctx, http.MethodGet, "/faults", nil, &all); err != nil {
		return f, false
	}
	for _, f := range all {
		if f.Service == "app" && (f.Op == "" || f.Op == op) {
			return f, true
		}
	}
	return f, false
}

// serveWS is GET /ws: a WebSocket that sends back what it is sent, and asks with a ping now and then whether the client lives,
// as services behind a load balancer do to outlive its idle time-out.
func serveWS(world string, log *slog.Logger) http.HandlerFunc {
	const pingEvery = 100 * time.Millisecond
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	return func(w http.ResponseWriter, r *http.Request) {
		f, hit := broken(r.Context(), world, "ws")
		if hit && f.Mode == faults.Error {
			http.Error(w, "no WebSocket today", http.StatusServiceUnavailable)
			return
		}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			log.Warn("websocket", "err", err)
			return
		}
		defer c.Close()
		if hit && f.Mode == faults.Refuse { // it closes at once
			_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseInternalServerErr, "going down"), time.Now().Add(time.Second))
			return
		}
		done := make(chan struct{})
		defer close(done)
		go func() {
			t := time.NewTicker(pingEvery)
			defer t.Stop()
			for {
				select {
				case <-done:
					return
				case <-t.C:
					_ = c.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
				}
			}
		}()
		for {
			kind, b, err := c.ReadMessage()
			switch {
			case err != nil:
				return
			case hit && f.Mode == faults.Hang:
				continue
			case hit && f.Mode == faults.Garble && len(b) > 0:
				b[0] ^= 0x20
			}
			if c.WriteMessage(kind, b) != nil {
				return
			}
		}
	}
}
