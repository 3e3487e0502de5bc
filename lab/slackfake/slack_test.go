package slackfake

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/failoverd/failoverd/lab/faults"
)

func TestBotWithButtons(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	set := faults.NewSet(1)
	fake := New(srv.Listener.Addr().String(), set, 1, slog.New(slog.DiscardHandler))
	srv.Config.Handler = fake
	srv.Start()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	ctx := t.Context()
	cl := slack.New("xoxb-test", slack.OptionAppLevelToken("xapp-test"), slack.OptionAPIURL(srv.URL+"/api/"))
	if who, err := cl.AuthTestContext(ctx); err != nil || who.TeamID != "T1" {
		t.Fatalf("auth.test: %+v, %v", who, err)
	}
	button := slack.NewButtonBlockElement("approve", "incident-7", slack.NewTextBlockObject("plain_text", "Approve", false, false))
	channel, ts, err := cl.PostMessageContext(ctx, "C1", slack.MsgOptionText("us-east-1 is down", false), slack.MsgOptionBlocks(slack.NewActionBlock("b1", button)))
	if err != nil {
		t.Fatal(err)
	}
	sm := socketmode.New(cl)
	go func() { _ = sm.RunContext(ctx) }()
	next := func(want socketmode.EventType) socketmode.Event {
		t.Helper()
		for timeout := time.After(10 * time.Second); ; {
			select {
			case ev := <-sm.Events:
				if ev.Type == want {
					return ev
				}
			case <-timeout:
				t.Fatalf("no %s within 10 s", want)
			}
		}
	}
	next(socketmode.EventTypeHello)
	fake.Disconnect() // Slack asks for a new connection now and then
	next(socketmode.EventTypeHello)
	result := make(chan Delivered)
	go func() {
		var d Delivered
		var err error
		for range 100 { // the old connection may be the one that is chosen
			if d, err = fake.Click(ctx, Click{Button: "Approve", User: "U42"}); err == nil {
				break
			}
		}
		result <- d
	}()
	ev := next(socketmode.EventTypeInteractive)
	cb, ok := ev.Data.(slack.InteractionCallback)
	if !ok || cb.User.ID != "U42" || cb.Team.ID != "T1" || cb.Channel.ID != "C1" || cb.ActionCallback.BlockActions[0].Value != "incident-7" || cb.Message.Timestamp != ts {
		t.Errorf("callback %+v", ev.Data)
	}
	if err := sm.Ack(*ev.Request); err != nil {
		t.Fatal(err)
	}
	if d := <-result; !d.Acked {
		t.Errorf("delivery %+v, want an acknowledgement", d)
	}
	if _, _, _, err := cl.UpdateMessageContext(ctx, channel, ts, slack.MsgOptionText("approved", false)); err != nil {
		t.Fatal(err)
	}
	if m := fake.Messages()[0]; m.Text != "approved" || m.Revisions != 1 || len(m.Buttons) != 0 {
		t.Errorf("message %+v", m)
	}
	if _, err := fake.Click(ctx, Click{Button: "Approve", User: "U42"}); err == nil || !strings.Contains(err.Error(), "no message has a button") {
		t.Errorf("click on a button that is gone: %v", err)
	}
	set.Add(faults.Fault{Service: "slack", Op: "chat.postMessage", Mode: faults.Throttle, DelayMs: 3000})
	_, _, err = cl.PostMessageContext(ctx, "C1", slack.MsgOptionText("x", false))
	if e, ok := err.(*slack.RateLimitedError); !ok || e.RetryAfter != 3*time.Second { //nolint:errorlint // slack-go returns it unwrapped
		t.Errorf("throttled post: %v", err)
	}
}
