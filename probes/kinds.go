package probes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Kinds are the ways in which a component can be seen. Each that is set is one
// signal. A new kind is one file and one line here.
type Kinds struct {
	HTTP  *HTTPConfig  `toml:"http" json:"http,omitempty"`
	TCP   *TCPConfig   `toml:"tcp" json:"tcp,omitempty"`
	DNS   *DNSConfig   `toml:"dns" json:"dns,omitempty"`
	SQS   *SQSConfig   `toml:"sqs" json:"sqs,omitempty"`
	Mongo *MongoConfig `toml:"mongo" json:"mongo,omitempty"`
	// AWSAPI looks at the control plane.
	AWSAPI *AWSAPIConfig `toml:"aws_api" json:"aws_api,omitempty"`
	// ALB looks at the targets of a load balancer through its control plane.
	ALB *ALBConfig `toml:"alb" json:"alb,omitempty"`
	// ECS looks at the tasks of a service through its control plane.
	ECS *ECSConfig `toml:"ecs" json:"ecs,omitempty"`
	// VPCPeering looks at whether a peering carries a connection.
	VPCPeering *VPCPeeringConfig `toml:"vpc_peering" json:"vpc_peering,omitempty"`
	// TLSExpiry looks at how long certificates live on.
	TLSExpiry *TLSExpiryConfig `toml:"tls_expiry" json:"tls_expiry,omitempty"`
	// Capacity looks at whether a region has what would be launched there.
	Capacity *CapacityConfig `toml:"capacity" json:"capacity,omitempty"`
	// MariaDBBackup looks at the newest backup that could be restored in a region.
	MariaDBBackup *MariaDBBackupConfig `toml:"mariadb_backup" json:"mariadb_backup,omitempty"`
	// MySQL looks at MariaDB or MySQL itself.
	MySQL *MySQLConfig `toml:"mysql" json:"mysql,omitempty"`
}

// CheckKinds are the assertions that can be made after a switch.
type CheckKinds struct {
	HTTP       *HTTPCheckConfig      `toml:"http" json:"http,omitempty"`
	HTTPFile   *HTTPFileConfig       `toml:"http_file" json:"http_file,omitempty"`
	DNSAnswer  *DNSAnswerConfig      `toml:"dns_answer" json:"dns_answer,omitempty"`
	SQSBacklog *SQSBacklogConfig     `toml:"sqs_backlog" json:"sqs_backlog,omitempty"`
	Pods       *PodsCheckConfig      `toml:"pods" json:"pods,omitempty"`
	ALB        *ALBCheckConfig       `toml:"alb" json:"alb,omitempty"`
	TLSExpiry  *TLSExpiryCheckConfig `toml:"tls_expiry" json:"tls_expiry,omitempty"`
	WebSocket  *WebSocketConfig      `toml:"websocket" json:"websocket,omitempty"`
	Duplicates *DuplicatesConfig     `toml:"duplicates" json:"duplicates,omitempty"`
	// TrafficObserved looks at what load balancers count.
	TrafficObserved *TrafficObservedConfig `toml:"traffic_observed" json:"traffic_observed,omitempty"`
	ECS             *ECSCheckConfig        `toml:"ecs" json:"ecs,omitempty"`
	Lambda          *LambdaCheckConfig     `toml:"lambda" json:"lambda,omitempty"`
	VPCPeering      *VPCPeeringCheckConfig `toml:"vpc_peering" json:"vpc_peering,omitempty"`
	Capacity        *CapacityCheckConfig   `toml:"capacity" json:"capacity,omitempty"`
	// MariaDBBackup reads the newest backup to its end.
	MariaDBBackup *MariaDBBackupCheckConfig `toml:"mariadb_backup" json:"mariadb_backup,omitempty"`
	// MySQL looks at the roles of the servers, and writes a row.
	MySQL *MySQLCheckConfig `toml:"mysql" json:"mysql,omitempty"`
	// MongoWrite writes one document, which a majority has to acknowledge.
	MongoWrite *MongoWriteConfig `toml:"mongo_write" json:"mongo_write,omitempty"`
	// CloudWatchMetric, CloudWatchLogs and CloudWatchAlarm ask what the region itself
	// has noticed since clients are there.
	CloudWatchMetric *CloudWatchMetricConfig `toml:"cloudwatch_metric" json:"cloudwatch_metric,omitempty"`
	CloudWatchLogs   *CloudWatchLogsConfig   `toml:"cloudwatch_logs" json:"cloudwatch_logs,omitempty"`
	CloudWatchAlarm  *CloudWatchAlarmConfig  `toml:"cloudwatch_alarm" json:"cloudwatch_alarm,omitempty"`
}

// Config is the configuration of a probe kind. Its strings may hold {region}
// and {node} until they are filled in; Validate is called before and after.
type Config interface {
	Validate() error
	// New makes a probe. It dials nothing.
	New(d Deps) (Probe, error)
}

// CheckConfig is the configuration of a check kind.
type CheckConfig interface {
	Validate() error
	// NewCheck makes a check. It dials nothing.
	NewCheck(d Deps) (Check, error)
	// Within is how long a failing check is asked again before it has failed.
	Within() time.Duration
}

// CheckVersion is the version of every check kind (rule E8). It grows when the
// meaning of a parameter changes.
const CheckVersion = 1

// DefaultWithin is how long a check may take to pass if its configuration does
// not say.
const DefaultWithin = 2 * time.Minute

// Spec is one signal to watch, resolved for one region and one node.
type Spec struct {
	Component failover.Component
	Region    failover.Region
	Kind      string
	Config    Config
	Interval  time.Duration // between the starts of two probes
	Timeout   time.Duration // of one probe
	Window    int           // results looked at
	Down      int           // failures in a row that make the signal down
}

// Plane says what the signal looks at; empty for the data plane, which alone makes a
// region down.
func (s Spec) Plane() string {
	switch s.Config.(type) {
	case interface{ ControlPlane() }:
		return failover.PlaneControl
	case interface{ Upkeep() }:
		return failover.PlaneUpkeep
	}
	return ""
}

// Placed is a Config of which a node can see only from some places: vantage is where
// the node is, region what it would look at.
type Placed interface {
	SeenFrom(vantage, region failover.Region) bool
}

// minimumTimeout is implemented by kinds that cannot say anything in less time.
type minimumTimeout interface{ MinTimeout() time.Duration }

// TimeoutFor is the time-out of a probe of kind c when the configuration says t.
func TimeoutFor(c Config, t time.Duration) time.Duration {
	if m, ok := c.(minimumTimeout); ok {
		return max(t, m.MinTimeout())
	}
	return t
}

// BuildCheck makes a check from the parameters that a plan holds.
func BuildCheck(kind string, version int, params json.RawMessage, d Deps) (Check, time.Duration, error) {
	c, err := DecodeCheck(kind, version, params)
	if err != nil {
		return nil, 0, err
	}
	check, err := c.NewCheck(d)
	if err != nil {
		return nil, 0, fmt.Errorf("check %s: %w", kind, err)
	}
	return check, c.Within(), nil
}

// DecodeCheck reads the parameters of a check kind strictly.
func DecodeCheck(kind string, version int, params json.RawMessage) (CheckConfig, error) {
	v := field(&CheckKinds{}, kind)
	if !v.IsValid() {
		return nil, fmt.Errorf("check kind %q is unknown to this node; the kinds are %s", kind, strings.Join(kindNames(CheckKinds{}), ", "))
	}
	if version != CheckVersion {
		return nil, fmt.Errorf("check kind %q version %d is unknown to this node, which has version %d", kind, version, CheckVersion)
	}
	c := reflect.New(v.Type().Elem()).Interface()
	dec := json.NewDecoder(bytes.NewReader(params))
	dec.DisallowUnknownFields()
	if err := dec.Decode(c); err != nil {
		return nil, fmt.Errorf("parameters of check %s: %w", kind, err)
	}
	cfg, ok := c.(CheckConfig)
	if !ok {
		return nil, fmt.Errorf("check kind %q has no implementation", kind)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("parameters of check %s: %w", kind, err)
	}
	return cfg, nil
}

func field(kinds any, kind string) reflect.Value {
	v := reflect.ValueOf(kinds).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("toml") == kind {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

func kindNames(kinds any) []string {
	t := reflect.TypeOf(kinds)
	var out []string
	for i := range t.NumField() {
		out = append(out, t.Field(i).Tag.Get("toml"))
	}
	return out
}

// Hosts are the host names that the probe depends on, without ports.
func (s Spec) Hosts() []string {
	if h, ok := s.Config.(interface {
		hosts(failover.Region) []string
	}); ok {
		return h.hosts(s.Region)
	}
	return nil
}
