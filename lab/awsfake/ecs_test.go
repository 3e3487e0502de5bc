package awsfake

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func TestECSService(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	if _, err := f.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("prod")}); err != nil {
		t.Fatal(err)
	}
	// The task ignores SIGTERM and has a child in another session, so that only the kill at the end of stopTimeout ends it.
	script := `trap "" TERM; setsid sleep 1000 & echo $! > child; while :; do sleep 0.05; done`
	def, err := f.ecs.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("workers"), ContainerDefinitions: []types.ContainerDefinition{
		{Name: aws.String("worker"), Image: aws.String("app"), Command: []string{"sh", "-c", script}, StopTimeout: aws.Int32(30)}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ecs.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("prod"), ServiceName: aws.String("workers"), DesiredCount: aws.Int32(2), TaskDefinition: def.TaskDefinition.TaskDefinitionArn}); err != nil {
		t.Fatal(err)
	}
	describe := func() types.Service {
		t.Helper()
		out, err := f.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("prod"), Services: []string{"workers", "nothing"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Services) != 1 || len(out.Failures) != 1 || aws.ToString(out.Failures[0].Reason) != "MISSING" {
			t.Fatalf("services %d, failures %+v", len(out.Services), out.Failures)
		}
		return out.Services[0]
	}
	if s := describe(); s.DesiredCount != 2 || s.RunningCount != 0 {
		t.Errorf("right after creation: desired %d, running %d", s.DesiredCount, s.RunningCount)
	}
	eventually(t, "two tasks run", func() bool { return describe().RunningCount == 2 })

	list, err := f.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("prod"), ServiceName: aws.String("workers")})
	if err != nil || len(list.TaskArns) != 2 {
		t.Fatalf("tasks %v, error %v", list, err)
	}
	tasks := f.ECS.Tasks()
	children := map[string]int{}
	for _, k := range tasks {
		eventually(t, "the task has written its child's process ID", func() bool {
			b, err := os.ReadFile(f.ECS.opt.Dir + "/tasks/" + k.Task + "/child")
			if err != nil {
				return false
			}
			var pid int
			_, err = fmt.Sscan(strings.TrimSpace(string(b)), &pid)
			children[k.Task] = pid
			return err == nil
		})
	}

	// A task that dies takes its children along, and is replaced.
	if err := syscall.Kill(tasks[0].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the dead task's child dies", func() bool { return !alive(children[tasks[0].Task]) })
	eventually(t, "the dead task is replaced", func() bool {
		n := 0
		for _, k := range f.ECS.Tasks() {
			if k.State == Running {
				n++
			}
		}
		return n == 2 && len(f.ECS.Tasks()) == 3
	})
	eventually(t, "the dead task is STOPPED", func() bool {
		for _, k := range f.ECS.Tasks() {
			if k.Task == tasks[0].Task {
				return k.State == Stopped
			}
		}
		return false
	})
	out, err := f.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String("prod"), Tasks: []string{tasks[0].Task}})
	if err != nil || len(out.Tasks) != 1 || out.Tasks[0].StopCode != types.TaskStopCodeEssentialContainerExited || aws.ToInt32(out.Tasks[0].Containers[0].ExitCode) != 137 {
		t.Errorf("the dead task: %+v, error %v", out, err)
	}

	// Scaling to zero is a wish; the processes end later, and the count follows them.
	upd, err := f.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("prod"), Service: aws.String("workers"), DesiredCount: aws.Int32(0)})
	if err != nil || upd.Service.DesiredCount != 0 || upd.Service.RunningCount == 0 {
		t.Errorf("update: %+v, error %v", upd, err)
	}
	eventually(t, "running count 0", func() bool { return describe().RunningCount == 0 })
	for _, k := range f.ECS.Tasks() {
		if k.State != Stopped || alive(k.Pid) {
			t.Errorf("task %+v is not dead although the service has stopped", k)
		}
	}
	if alive(children[tasks[1].Task]) {
		t.Error("a child survived its stopped task")
	}
	_, err = f.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("prod"), Service: aws.String("nothing"), DesiredCount: aws.Int32(0)})
	wantCode(t, err, "ServiceNotFoundException")
	_, err = f.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("nowhere")})
	wantCode(t, err, "ClusterNotFoundException")
}

// alive tells whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}
