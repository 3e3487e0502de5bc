package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// The examples of deploy/ are run as they are written: command lines, ports, paths, environment, mounts, users. What differs is
// what a reader has to fill in – the image of the worker, the certificates, the region's name – and that times are divided as
// those of the configuration are.

func example(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../deploy/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// brisk divides the durations of a command line, as 3s or --work=3s.
func brisk(argv []string, factor float64) []string {
	out := slices.Clone(argv)
	for i, a := range out {
		flag, value, found := strings.Cut(a, "=")
		if !found {
			flag, value = "", a
		} else {
			flag += "="
		}
		if d, err := time.ParseDuration(value); err == nil && d > 0 {
			out[i] = flag + time.Duration(float64(d)/factor).String()
		}
	}
	return out
}

// workerOf puts the world's worker in the place of the example's, with its arguments.
func workerOf(t *testing.T, argv, worker []string) []string {
	t.Helper()
	i := slices.Index(argv, "--")
	if i < 0 || !slices.Equal(argv[i+1:], []string{"/app/worker"}) {
		t.Fatalf("the worker is not /app/worker: %q", argv)
	}
	return append(slices.Clone(argv), worker[1:]...)
}

// ecsExample lets the world's ECS run the workers of us-east-1 as deploy/ecs/worker.json says. The lab's ECS has one container in
// a task, which is essential, and gives it 30 s after SIGTERM; the file must say so. Not honoured here: launch type, network mode.
func ecsExample(t *testing.T) option {
	var def struct {
		ContainerDefinitions []struct {
			Essential           bool
			StopTimeout         int
			EntryPoint, Command []string
			Environment         []any
			MountPoints         []struct {
				SourceVolume, ContainerPath string
				ReadOnly                    bool
			}
			LinuxParameters struct {
				Tmpfs []struct {
					ContainerPath string
					Size          int
					MountOptions  []string
				}
			}
		}
		Volumes []struct {
			Name string
			Host struct{ SourcePath string }
		}
	}
	if err := json.Unmarshal(example(t, "ecs/worker.json"), &def); err != nil {
		t.Fatal(err)
	}
	c := def.ContainerDefinitions[0]
	if len(def.ContainerDefinitions) != 1 || !c.Essential || c.StopTimeout != 30 || len(c.Environment) > 0 {
		t.Fatalf("the lab's ECS does not run this: %+v", def)
	}
	return func(o *harness.Options) {
		dir, host := o.World.Dir, map[string]string{}
		for _, v := range def.Volumes {
			switch v.Host.SourcePath {
			case "/usr/local/bin/failoverd":
				host[v.Name] = o.Failoverd
			case "/etc/failoverd":
				host[v.Name] = dir
			case "/var/lib/failoverd": // one for all tasks of the host
				host[v.Name] = mkdir(t, filepath.Join(dir, "ecs-state"))
			}
		}
		j := &jail{root: "{dir}/root", places: append(worldly(dir), place{at: "/app/worker", from: o.World.Lab})}
		for _, m := range c.MountPoints {
			if host[m.SourceVolume] == "" {
				t.Fatalf("nothing is known of the volume %s", m.SourceVolume)
			}
			j.places = append(j.places, place{at: m.ContainerPath, from: host[m.SourceVolume], readOnly: m.ReadOnly})
		}
		for _, m := range c.LinuxParameters.Tmpfs {
			j.places = append(j.places, place{at: m.ContainerPath, tmpfs: strings.Join(append([]string{"size=1m"}, m.MountOptions...), ",")})
		}
		argv := brisk(append(slices.Clone(c.EntryPoint), c.Command...), o.Config.Factor)
		o.Worker = func(region string, worker []string) []string {
			if region != world.Primary {
				return nil
			}
			return j.argv(workerOf(t, argv, worker)...)
		}
	}
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pod runs the container of deploy/kubernetes/worker.yaml as a kubelet does, which starts it again when it ends, and returns how long
// one that is deleted has after SIGTERM. Not honoured here: how the volumes come about, and the pod's network.
func (r *rig) pod(name string) (grace time.Duration) {
	r.Helper()
	var d struct {
		Spec struct {
			Template struct {
				Spec struct {
					TerminationGracePeriodSeconds int
					Containers                    []struct {
						Command, Args []string
						Env           []struct {
							Name      string
							ValueFrom struct{ FieldRef struct{ FieldPath string } }
						}
						SecurityContext struct{ RunAsUser int }
						VolumeMounts    []struct {
							Name, MountPath string
							ReadOnly        bool
						}
					}
					Volumes []struct {
						Name      string
						Image     *struct{ Reference string }
						Projected *struct {
							DefaultMode os.FileMode
							Sources     []struct {
								ConfigMap, Secret struct{ Items []struct{ Key, Path string } }
							}
						}
						EmptyDir *struct{ Medium, SizeLimit string }
						HostPath *struct{ Path string }
					}
				}
			}
		}
	}
	r.do(yaml.Unmarshal(example(r.T, "kubernetes/worker.yaml"), &d))
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	dir := mkdir(r.T, filepath.Join(r.c.Dir, "pod"))
	keys := map[string]string{"config.toml": r.c.Config, "ca.crt": r.c.Dir + "/tls/ca.pem", "tls.crt": r.c.Dir + "/tls/agent-us-east-1.pem", "tls.key": r.c.Dir + "/tls/agent-us-east-1.key"}
	from := map[string]string{}
	for _, v := range pod.Volumes {
		at := mkdir(r.T, filepath.Join(dir, v.Name))
		from[v.Name] = at
		switch {
		case v.Image != nil: // the image of failoverd as the Dockerfile makes it
			in := regexp.MustCompile(`(?m)^COPY --from=build /out/failoverd (\S+)$`).FindSubmatch(example(r.T, "../Dockerfile"))
			r.copy(failoverdBin, at+string(in[1]), 0o755)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				for _, i := range append(s.ConfigMap.Items, s.Secret.Items...) {
					r.copy(keys[i.Key], filepath.Join(at, i.Path), v.Projected.DefaultMode)
				}
			}
		case v.EmptyDir != nil: // it outlives the container
			r.do(os.Chmod(at, 0o777))
		case v.HostPath != nil: // "owned by the worker's user"
			r.do(os.Chown(at, c.SecurityContext.RunAsUser, c.SecurityContext.RunAsUser))
		}
	}
	j := r.jailed("pod", place{at: "/app/worker", from: labBin})
	for _, m := range c.VolumeMounts {
		j.places = append(j.places, place{at: m.MountPath, from: from[m.Name], readOnly: m.ReadOnly})
	}
	j.user, j.apart = "65532:65532", true
	if c.SecurityContext.RunAsUser != 65532 {
		r.Fatalf("the pod runs as user %d", c.SecurityContext.RunAsUser)
	}
	// $(VAR) is the kubelet's to fill in.
	argv := slices.Clone(append(c.Command, c.Args...))
	var env []string
	for _, e := range c.Env {
		if e.ValueFrom.FieldRef.FieldPath != "metadata.name" {
			r.Fatalf("nothing is known of %+v", e)
		}
		env = append(env, e.Name+"="+name)
		for i := range argv {
			argv[i] = strings.ReplaceAll(argv[i], "$("+e.Name+")", name)
		}
	}
	argv = workerOf(r.T, brisk(argv, factor/float64(r.slow)), r.worker(name))
	// What the worker needs of the world is not root's alone.
	for _, path := range []string{r.c.Dir, r.c.Dir + "/ledger.sock", r.c.Dir + "/store-us-east-1.sock"} {
		r.do(os.Chmod(path, 0o777))
	}
	go func() {
		for r.ctx.Err() == nil {
			if p, err := r.inside(j, "pod", env, argv...); err == nil {
				_ = p.Wait(r.ctx) // what the kubelet makes of it is the same
			}
			time.Sleep(r.slow * 10 * time.Second / factor)
		}
	}()
	return r.slow * time.Duration(pod.TerminationGracePeriodSeconds) * time.Second / factor
}

// worker is the world's worker in us-east-1, by a name of its own.
func (r *rig) worker(name string) []string {
	argv := world.DefaultCommand("/app/worker", world.Primary, "workers", factor/float64(r.slow))
	for i := range argv {
		argv[i] = strings.NewReplacer("{world}", r.c.Dir, "{region}", world.Primary, "{task}", name).Replace(argv[i])
	}
	return argv
}

func (r *rig) copy(from, to string, mode os.FileMode) {
	r.Helper()
	b, err := os.ReadFile(from)
	r.do(err)
	r.do(os.MkdirAll(filepath.Dir(to), 0o755))
	r.do(os.WriteFile(to, b, 0o600))
	r.do(os.Chmod(to, mode))
}
