package actions
import "errors"
var errStub = errors.New("stub")
func (c *ECSServiceConfig) New(d Deps) (Action, error) { return nil, errStub }
func (c *Route53WeightsConfig) New(d Deps) (Action, error) { return nil, errStub }
func (c *ExecConfig) New(d Deps) (Action, error) { return nil, errStub }
