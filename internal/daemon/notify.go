package daemon

// openNotifier starts telling people, if a channel is configured.
func (d *Daemon) openNotifier() error { return nil }
