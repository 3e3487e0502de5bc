// Package region is one AWS region of the simulated world in one process: the AWS endpoint, the load balancer, a Kubernetes
// cluster, the application's store and the MongoDB members. The tasks of its ECS are child processes.
package region

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/failoverd/failoverd/internal/mongotest"
	"github.com/failoverd/failoverd/lab/alb"
	"github.com/failoverd/failoverd/lab/app"
	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/ctl"
	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/iam"
	"github.com/failoverd/failoverd/lab/kubefake"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/pki"
)

// Config is a region's set-up, in the units of the real world; TimeFactor divides them.
type Config struct {
	World      string                `json:"world"` // directory
	Site       string                `json:"site"`  // e1
	Region     string                `json:"region"`
	TimeFactor float64               `json:"timeFactor"`
	AWS        string                `json:"aws"`      // listen address of the AWS endpoint
	Zones      map[string]string     `json:"zones"`    // load balancer: zone → listen address
	TLSZones   map[string]string     `json:"tlsZones"` // the same, with TLS
	Names      []string              `json:"names"`    // in the load balancer's certificate
	TaskIPs    []string              `json:"taskIps"`
	APIPort    int                   `json:"apiPort"` // of the targets
	Store      string                `json:"store"`   // listen address
	Peer       string                `json:"peer"`    // the other region's store
	Mongo      []string              `json:"mongo"`   // listen addresses of this region's members
	Members    []Member              `json:"members"` // the whole replica set
	Queues     []string              `json:"queues"`
	Buckets    []string              `json:"buckets"`    // of S3
	Groups     []awsfake.ASGroup     `json:"groups"`     // Auto Scaling
	Instances  []awsfake.EC2Instance `json:"instances"`  // in no group
	Kube       string                `json:"kube"`       // listen address of the Kubernetes API server
	Search     int                   `json:"search"`     // replicas of its Deployment at the beginning
	FunctionOn bool                  `json:"functionOn"` // the event source, and what fires by the clock
	Services   []Service             `json:"services"`
	SoloAfter  time.Duration         `json:"soloAfter"` // 0 means 90 s
	ECSStart   time.Duration         `json:"ecsStart"`  // 0 means 6 s
	ECSLag     time.Duration         `json:"ecsLag"`    // 0 means 2 s
	SQSLag     time.Duration         `json:"sqsLag"`    // 0 means 3 s
	Election   time.Duration         `json:"election"`  // 0 means 10 s
	Minute     time.Duration         `json:"minute"`    // of CloudWatch; 0 means one
	Peerings   []awsfake.Peering     `json:"peerings"`
	Inside     string                `json:"inside"`            // listen address of something that only the VPCs reach
	Backups    []Backup              `json:"backups,omitempty"` // of MariaDB; none: texts in their place
	Walled     *Walled               `json:"walled,omitempty"`
	StoreFar   string                `json:"storeFar,omitempty"` // listen address of the store for what runs in it
}

// Member is one member of the MongoDB replica set.
type Member struct {
	Host     string  `json:"host"`
	Priority float64 `json:"priority"`
}

// Service is an ECS service of cluster "prod".
type Service struct {
	Name    string            `json:"name"`
	Command []string          `json:"command"`
	Env     map[string]string `json:"env"`
	Desired int               `json:"desired"`
	Scale   *awsfake.Scale    `json:"scale,omitempty"` // its autoscaler
	// HealthAfter is when after a task's start its health check is known; 0: it has none.
	HealthAfter time.Duration `json:"healthAfter,omitempty"`
}

// Cluster is the name of the only ECS cluster.
const Cluster = "prod"

// certificateLife is how long the load balancer's certificate lives; what AWS issues lives for 198 to 395 days.
const certificateLife = 90 * 24 * time.Hour

// TargetGroup is the name of the API's target group.
const TargetGroup = "api"

// targetGroup is what the API of Elastic Load Balancing says of the load balancer's targets.
func targetGroup(c Config, lb *alb.ALB) awsfake.TargetGroup {
	return awsfake.TargetGroup{Name: TargetGroup, Port: c.APIPort, Attached: true, Targets: func() (out []awsfake.TargetState) {
		for _, t := range lb.Describe() {
			host, _, _ := net.SplitHostPort(t.Address)
			out = append(out, awsfake.TargetState{ID: host, Port: c.APIPort, State: t.State, Reason: t.Reason, Description: t.Description})
		}
		return out
	}}
}

// alarms are what somebody has set up in each region: for messages that nobody takes, for clients that are refused, and for either.
func alarms(balancer string) []awsfake.Alarm {
	return []awsfake.Alarm{
		{Name: "messages-too-old", Metric: awsfake.Metric{Space: "AWS/SQS", Name: "ApproximateAgeOfOldestMessage", Dimension: "QueueName", Of: "messages"}, Above: 900, Periods: 2, Quiet: true},
		{Name: "clients-refused", Metric: awsfake.Metric{Space: "AWS/ApplicationELB", Name: "HTTPCode_ELB_503_Count", Dimension: "LoadBalancer", Of: balancer}, Above: 6000, Periods: 2, Quiet: true},
		{Name: "messaging", Of: []string{"messages-too-old", "clients-refused"}},
	}
}

func or(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// Run starts the region and waits for ctx to end.
func Run(ctx context.Context, c Config, log *slog.Logger) error {
	log = log.With("region", c.Region)
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) / c.TimeFactor) }
	set := faults.NewSet(uint64(len(c.Region)))
	witness, err := ledger.Dial(filepath.Join(c.World, app.LedgerSocket), ledger.Event{})
	if err != nil {
		return err
	}
	ecs := awsfake.NewECS(ctx, awsfake.ECSOptions{Region: c.Region, Dir: c.World, IPs: c.TaskIPs, StartDelay: scale(or(c.ECSStart, 6*time.Second)),
		Lag: scale(or(c.ECSLag, 2*time.Second)), TimeFactor: c.TimeFactor, Subnets: Subnets(c.Region), Faults: set, Log: log,
		OnTask: func(service, task string, s awsfake.TaskState) {
			if err := witness.Write(ledger.Event{Type: ledger.TaskState, Region: c.Region, Task: task, Text: service + " " + string(s)}); err != nil && ctx.Err() == nil {
				log.Error("ledger", "err", err)
			}
		}})
	sqs := awsfake.NewSQS(c.Region, "http://"+c.AWS, max(time.Second, scale(30*time.Second)), scale(or(c.SQSLag, 3*time.Second)))
	for _, q := range c.Queues {
		sqs.CreateQueue(q)
	}
	store, err := app.StartStore(ctx, app.StoreOptions{Region: c.Region, Socket: app.StoreSocket(c.World, c.Region), Listen: c.Store, Clients: c.StoreFar, Peer: c.Peer,
		Journal: filepath.Join(c.World, "store-"+c.Region+".jsonl"), SoloAfter: scale(or(c.SoloAfter, 90*time.Second)),
		LinkDown: max(200*time.Millisecond, scale(3*time.Second)), Log: log})
	if err != nil {
		return err
	}
	s3 := awsfake.NewS3(c.Buckets...)
	if err := backups(s3, c, time.Now()); err != nil {
		return err
	}
	short := func(zone string) string {
		// A zone without capacity is a fault of "launch" with the zone as its target.
		if f, hit := set.Match("launch", "", zone); hit {
			if f.Mode == faults.Throttle {
				return "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to (VcpuLimitExceeded)."
			}
			return fmt.Sprintf("We currently do not have sufficient m6i.large capacity in the Availability Zone you requested (%s). Launching EC2 instance failed. (InsufficientInstanceCapacity)", zone)
		}
		return ""
	}
	asg := awsfake.NewAutoScaling(awsfake.ASGOptions{Region: c.Region, Groups: c.Groups, Launch: scale(12 * time.Second), End: scale(6 * time.Second), Short: short})
	ec2 := awsfake.NewEC2(wall(ctx, c, awsfake.EC2Options{Instances: c.Instances, Groups: asg, Start: scale(6 * time.Second), Checks: scale(6 * time.Second), Stop: scale(12 * time.Second), Short: short,
		Peerings: c.Peerings, Faults: set, Subnets: subnets(c.Region), Templates: []string{Template}}, log))
	lambda := awsfake.NewLambda(sqs, scale(8*time.Second), function(c, ecs, set, max(time.Second, scale(12*time.Second).Truncate(time.Second))))
	lambda.Logs, lambda.Faults = awsfake.NewLogs(scale(5*time.Second)), set
	longest := scale(45 * time.Second)
	clocks := awsfake.NewClocks(c.Region, scale(12*time.Second),
		awsfake.Timer{Name: RuleName, Rule: true, Every: scale(20 * time.Second), Enabled: c.FunctionOn, Fire: job(c, ecs, RuleName, longest, log)},
		awsfake.Timer{Name: ScheduleName, Every: scale(30 * time.Second), Enabled: c.FunctionOn, Fire: job(c, ecs, ScheduleName, longest, log)})
	kube, err := kubefake.Serve(ctx, kubefake.Options{Region: c.Region, Addr: c.Kube, Dir: c.World, Replicas: c.Search, Control: scale(time.Second), Start: scale(6 * time.Second),
		Ready: scale(6 * time.Second), End: scale(6 * time.Second), Faults: set, Log: log})
	if err != nil {
		return err
	}
	cert, err := pki.NewServer(c.World, scale(certificateLife), c.Names...)
	if err != nil {
		return err
	}
	lb := alb.New(alb.Options{Zones: c.Zones, TLSZones: c.TLSZones, Certificate: cert.Certificate, HealthPath: "/healthz", HealthEvery: max(100*time.Millisecond, scale(5*time.Second)),
		IdleTimeout: max(time.Second, scale(60*time.Second)), Drain: scale(30 * time.Second), Faults: set, Log: log,
		Targets: func() (out []string) {
			for _, t := range ecs.Targets(Cluster, "api") {
				out = append(out, fmt.Sprintf("%s:%d", t.IP, c.APIPort))
			}
			return out
		}})
	balancer := "app/messaging-" + c.Region + "/50dc6c495c0c9188"
	metrics := awsfake.NewCloudWatch(awsfake.CloudWatchOptions{Minute: max(time.Second, scale(or(c.Minute, time.Minute)).Truncate(time.Second)), Late: scale(20 * time.Second),
		Balancers: map[string]func() alb.Counts{balancer: lb.Counts}, Sources: []func() []awsfake.Point{sqs.Metrics(), used(asg, c.Groups)}, Alarms: alarms(balancer), Faults: set})
	policies, err := iam.Load(filepath.Join(c.World, iam.Dir))
	if err != nil {
		return err
	}
	aws := &awsfake.Server{Region: c.Region, Policies: policies, ECS: ecs, SQS: sqs, S3: s3, ASG: asg, EC2: ec2, Lambda: lambda, Clocks: clocks, Metrics: metrics, Logs: lambda.Logs, Stock: stock(c), Faults: set, Log: log,
		ELB: awsfake.NewELB(c.Region, targetGroup(c, lb))}
	if err := ctl.ListenHTTP(ctx, c.AWS, aws); err != nil {
		return err
	}
	if err := lb.Run(ctx); err != nil {
		return err
	}
	if err := inside(ctx, c.Inside); err != nil {
		return err
	}
	members, err := startMongo(ctx, c, set, log, scale(or(c.Election, 10*time.Second)))
	if err != nil {
		return err
	}
	for _, s := range c.Services {
		def := ecs.Register(c.within(s.Name, s.definition(c.Region)))
		ecs.Create(Cluster, s.Name, def, s.Desired)
		if s.Scale != nil {
			ecs.SetScale(Cluster, s.Name, *s.Scale)
		}
	}
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { lambda.Run(ctx) })
	background.Go(func() { metrics.Run(ctx) })
	background.Go(func() { clocks.Run(ctx) })
	background.Go(func() { events(ctx, sqs, c.Region, scale(8*time.Second)) })
	done := make(chan struct{})
	go func() {
		ecs.Run()
		close(done)
	}()
	mux := http.NewServeMux()
	set.Register(mux)
	register(mux, aws, ecs, sqs, store, lb, members)
	mux.HandleFunc("GET /kube", kube.View)
	certificates(mux, cert)
	if err := ctl.Serve(ctx, filepath.Join(c.World, "ctl", c.Site+".sock"), mux); err != nil {
		return err
	}
	log.Info("region is up", "aws", c.AWS, "pid", os.Getpid())
	<-done
	return nil
}

// register serves the region's control socket, faults and GET /kube aside: GET /ready, /calls, /tasks, /store, /alb, /mongo,
// /sqs?queue=NAME, /asg?group=NAME, /ec2, /acls, /s3/writes, /ops, /iam, and POST /queue {"name"}.
func register(mux *http.ServeMux, aws *awsfake.Server, ecs *awsfake.ECS, sqs *awsfake.SQS, store *app.Store, lb *alb.ALB, members map[string]*mongotest.Member) {
	get := func(path string, f func(*http.Request) any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { ctl.Reply(w, f(r)) })
	}
	get("/ready", func(*http.Request) any { return true })
	get("/ops", func(*http.Request) any { return aws.Ops() })
	get("/calls", func(*http.Request) any { return aws.Calls() })
	get("/iam", func(*http.Request) any { return aws.Judgements() })
	get("/tasks", func(*http.Request) any { return ecs.Tasks() })
	get("/store", func(*http.Request) any { return store.Status() })
	get("/alb", func(*http.Request) any { return lb.Health() })
	get("/sqs", func(r *http.Request) any {
		v, n := sqs.Depth(r.URL.Query().Get("queue"))
		return map[string]int{"visible": v, "notVisible": n}
	})
	get("/mongo", func(*http.Request) any {
		out := map[string]any{}
		for h, m := range members {
			state, term, rolled := m.State()
			out[h] = map[string]any{"state": state, "term": term, "rolledBack": rolled}
		}
		return out
	})
	get("/mongo/documents", func(r *http.Request) any {
		if m := members[r.URL.Query().Get("member")]; m != nil {
			return m.Keys(app.Documents[0] + "." + app.Documents[1])
		}
		return nil
	})
	get("/asg", func(r *http.Request) any {
		all, serving := aws.ASG.Size(r.URL.Query().Get("group"))
		return map[string]int{"instances": all, "serving": serving}
	})
	get("/ec2", func(*http.Request) any { return aws.EC2.States() })
	get("/acls", func(*http.Request) any { return aws.EC2.ACLs() })
	get("/s3/writes", func(*http.Request) any { return aws.S3.History() })
	mux.HandleFunc("POST /queue", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name string `json:"name"`
		}
		if ctl.Read(w, r, &in) {
			ctl.Reply(w, map[string]string{"url": sqs.CreateQueue(in.Name)})
		}
	})
}

// certificates serves GET /certificate and POST /certificate {"left": "-1h"}: a new one with so much of its life left, undivided.
func certificates(mux *http.ServeMux, cert *pki.Server) {
	mux.HandleFunc("GET /certificate", func(w http.ResponseWriter, _ *http.Request) {
		ctl.Reply(w, map[string]time.Time{"ends": cert.Ends()})
	})
	mux.HandleFunc("POST /certificate", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Left string `json:"left"`
		}
		if !ctl.Read(w, r, &in) {
			return
		}
		left, err := time.ParseDuration(in.Left)
		if err == nil {
			err = cert.Issue(left)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctl.Reply(w, map[string]time.Time{"ends": cert.Ends()})
	})
}
