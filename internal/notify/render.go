package notify

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/slack-go/slack"
)

// Slack's limits, a little below what it documents:
// https://docs.slack.dev/reference/block-kit/blocks/section-block
const (
	sectionLimit = 2900
	buttonLimit  = 70
)

// value is what a button carries back.
type value struct {
	Execution uint64 `json:"execution"`
	Epoch     uint64 `json:"epoch"`
	Nonce     uint64 `json:"nonce"`
	Action    string `json:"action"`
}

// render makes the message: a title, lines, and buttons if there is a question.
func render(u Update) []slack.MsgOption {
	title, body := clip(escape(u.Title), 250), clip(escape(strings.Join(u.Lines, "\n")), sectionLimit)
	blocks := []slack.Block{section("*" + title + "*")}
	if body != "" {
		blocks = append(blocks, section(body))
	}
	if len(u.Buttons) > 0 && !u.Done {
		var elements []slack.BlockElement
		for _, b := range u.Buttons {
			// Plain numbers and a word from our own table: it cannot fail.
			v, _ := json.Marshal(value{u.Execution, u.Epoch, u.Nonce, b.ID})
			button := slack.NewButtonBlockElement(b.ID, string(v), slack.NewTextBlockObject(slack.PlainTextType, clip(b.Label, buttonLimit), false, false))
			button.Style = slack.Style(b.Style)
			elements = append(elements, button)
		}
		blocks = append(blocks, slack.NewActionBlock("decision", elements...))
	}
	return []slack.MsgOption{
		// The text is what notifications and screen readers show.
		slack.MsgOptionText(clip(title+"\n"+body, sectionLimit), false), slack.MsgOptionBlocks(blocks...), slack.MsgOptionDisableLinkUnfurl(),
	}
}

func section(text string) slack.Block {
	return slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, text, false, false), nil, nil)
}

// escape takes the meaning off what could mention a channel or hide a link:
// names of hosts and texts of errors come from elsewhere.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// clip shortens a text to at most n bytes, at a character's end and never inside
// an escape.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n-len("…")]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	if i := strings.LastIndexByte(s, '&'); i >= 0 && !strings.Contains(s[i:], ";") {
		s = s[:i]
	}
	return s + "…"
}
