package daemon

import (
	"context"
	"path/filepath"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
	"github.com/failoverd/failoverd/internal/config"
)

// configure puts configurations in force: the first one of a new cluster from
// this node's file, and later those that were proposed and that every member has
// acknowledged. It reports whether it did something.
func (l *leadership) configure(ctx context.Context, s *failover.State) bool {
	cfg := l.core.cfg
	var c failover.Command
	switch {
	case s.Settings == nil:
		c = failover.Configure{Settings: cfg.Settings, Hash: cfg.ConfigHash}
	case s.Source == "" && cfg.Source != "" && s.SettingsHash == cfg.ConfigHash && s.Level() >= 2:
		c = failover.KeepSource{Hash: cfg.ConfigHash, Source: cfg.Source}
	case s.Proposal != nil && s.Waits() == "":
		c = failover.ActivateSettings{Proposal: s.Proposal.ID}
	default:
		return false
	}
	if _, err := l.tenure.Propose(ctx, c, ""); err != nil {
		if ctx.Err() == nil {
			cfg.Log.Warn("the configuration was not taken", "why", err.Error())
		}
		return false
	}
	return true
}

// ProposeConfig implements admin.Configurer.
func (d *Daemon) ProposeConfig(ctx context.Context, by string, c admin.ConfigText) (res failover.Result, hash string, changes []string, err error) {
	cfg, err := config.Parse(filepath.Base(c.File), []byte(c.Text))
	if err != nil {
		return res, "", nil, err
	}
	hash = cfg.Hash()
	cmd := failover.ProposeSettings{Settings: cfg.Settings(), Hash: hash, Source: c.Text}
	if s := d.State(); s.Settings != nil {
		changes = failover.SafetyChanges(s.Settings, &cmd.Settings)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err = d.core.Node().Propose(ctx, failover.Meta{By: by, Why: c.Why, ID: c.ID}, cmd)
	return res, hash, changes, err
}

// Config implements admin.Configurer.
func (d *Daemon) Config() admin.ConfigView {
	s := d.State()
	v := admin.ConfigView{Hash: s.SettingsHash, Since: s.SettingsSince, Source: s.Source, OwnFile: d.opts.Config.Hash(), Proposal: s.Proposal, Waits: s.Waits()}
	if s.Settings != nil {
		v.Nodes = s.Settings.Nodes
	}
	return v
}
