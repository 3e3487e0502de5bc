package actions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// Kinds are the ways in which the world can be changed. A new kind is one file
// and one line here.
type Kinds struct {
	ECSService     *ECSServiceConfig        `toml:"ecs_service" json:"ecs_service,omitempty"`
	ASG            *ASGConfig               `toml:"asg" json:"asg,omitempty"`
	EC2Instances   *EC2InstancesConfig      `toml:"ec2_instances" json:"ec2_instances,omitempty"`
	NACL           *NACLConfig              `toml:"nacl" json:"nacl,omitempty"`
	LambdaEvents   *LambdaEventSourceConfig `toml:"lambda_event_source" json:"lambda_event_source,omitempty"`
	Schedule       *ScheduleConfig          `toml:"schedule" json:"schedule,omitempty"`
	Kubernetes     *KubernetesConfig        `toml:"kubernetes" json:"kubernetes,omitempty"`
	Gate           *GateConfig              `toml:"gate" json:"gate,omitempty"`
	S3Object       *S3ObjectConfig          `toml:"s3_object" json:"s3_object,omitempty"`
	Route53Weights *Route53WeightsConfig    `toml:"route53_weights" json:"route53_weights,omitempty"`
	MariaDBRestore *MariaDBRestoreConfig    `toml:"mariadb_restore" json:"mariadb_restore,omitempty"`
	MariaDBDump    *MariaDBDumpConfig       `toml:"mariadb_dump" json:"mariadb_dump,omitempty"`
	MongoPromote   *MongoPromoteConfig      `toml:"mongo_promote" json:"mongo_promote,omitempty"`
	Exec           *ExecConfig              `toml:"exec" json:"exec,omitempty"`
	HTTPCall       *HTTPCallConfig          `toml:"http_call" json:"http_call,omitempty"`
	Approval       *ApprovalConfig          `toml:"approval" json:"approval,omitempty"`
}

// ApprovalKind is the kind that changes nothing and is passed by a person. The
// executor handles it; Build returns no action for it.
const ApprovalKind = "approval"

// Role is where in the configuration an action stands.
type Role string

// The roles.
const (
	RoleStop   Role = "stop"   // in the region being left
	RoleStart  Role = "start"  // in the region being entered
	RoleSwitch Role = "switch" // moves clients to the region being entered
)

// Config is the configuration of an action kind. Its strings may hold {region}
// and {node} until they are filled in.
type Config interface {
	// Validate reports the first wrong parameter, for the role in which the
	// action is used. Role "" checks what does not depend on it.
	Validate(role Role) error
	// Version of the kind (rule E8). It grows when the meaning of a parameter
	// changes.
	Version() int
	// Timeout is how long the action may take to be Present, if the
	// configuration does not say.
	Timeout() time.Duration
	// New makes the action. It dials nothing. A nil action without an error is
	// one that the executor handles itself.
	New(d Deps) (Action, error)
}

// Deps are what actions need from the process.
type Deps struct {
	// Region is where the action acts, or for a switch where clients are sent.
	Region failover.Region
	// Step is the step that the action is made for, as people name it.
	Step failover.StepID
	// Regions are the two regions of the service, the primary first.
	Regions []failover.Region
	Node    failover.NodeID
	Service string // the service's name
	// Epoch is the one in force, and Since when the execution began that is under way; zero: none is.
	Epoch uint64
	Since time.Time
	// Resolvers are the DNS servers to ask, "ip:port". Empty: the host's own.
	Resolvers []string
	Cloud     *cloud.Clients // nil if the configuration uses no AWS kind
	// Quiet outlives the actions that are made with it; nil: this one begins anew.
	Quiet *Quiet
	// Recall is what the log keeps of this resource (Rememberer), and since when it
	// was so; the zero value: nothing.
	Recall failover.Reading
	// Past are what became of the same step, whatever its direction, in earlier executions and in the one that is open, oldest first.
	Past []failover.StepRecord
	// Begun are the tokens of a step's attempts in the execution that is under way, and whether the newest of them is known to have failed. Nil: there is none.
	Begun func(step failover.StepID) (tokens []uint64, failed bool)
	Log   *slog.Logger
}

func (d Deps) quiet() *Quiet {
	if d.Quiet == nil {
		return new(Quiet)
	}
	return d.Quiet
}

func (d Deps) dns() *dnsq.Client { return &dnsq.Client{Resolvers: d.Resolvers} }

// Build makes an action from the parameters that a plan holds. The action is
// nil for ApprovalKind.
func Build(kind string, version int, params json.RawMessage, d Deps) (Action, error) {
	c, err := Decode(kind, version, params)
	if err != nil {
		return nil, err
	}
	a, err := c.New(d)
	if err != nil {
		return nil, fmt.Errorf("action %s: %w", kind, err)
	}
	return a, nil
}

// KindName is the name of a configuration's kind; "" if there is none of its type.
func KindName(c Config) string {
	for f := range reflect.TypeFor[Kinds]().Fields() {
		if f.Type == reflect.TypeOf(c) {
			return f.Tag.Get("toml")
		}
	}
	return ""
}

// Decode reads the parameters of an action kind strictly. A kind or version
// that this node lacks is an error: such a node must not lead (rule E8).
func Decode(kind string, version int, params json.RawMessage) (Config, error) {
	t := reflect.TypeFor[Kinds]()
	var names []string
	for f := range t.Fields() {
		name := f.Tag.Get("toml")
		names = append(names, name)
		if name != kind {
			continue
		}
		c, ok := reflect.New(f.Type.Elem()).Interface().(Config)
		if !ok {
			return nil, fmt.Errorf("action kind %q has no implementation", kind)
		}
		if c.Version() != version {
			return nil, fmt.Errorf("action kind %q version %d is unknown to this node, which has version %d", kind, version, c.Version())
		}
		dec := json.NewDecoder(bytes.NewReader(params))
		dec.DisallowUnknownFields()
		if err := dec.Decode(c); err != nil {
			return nil, fmt.Errorf("parameters of action %s: %w", kind, err)
		}
		if err := c.Validate(""); err != nil {
			return nil, fmt.Errorf("parameters of action %s: %w", kind, err)
		}
		return c, nil
	}
	return nil, fmt.Errorf("action kind %q is unknown to this node; the kinds are %s", kind, strings.Join(names, ", "))
}
