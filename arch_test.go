package failoverd_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/failoverd/failoverd/"

// imports is who may import whom inside the module; siblings never do. A package
// that is not listed fails the test: add it here, with its reasons in mind.
var imports = map[string][]string{
	"failover":                {},
	"failover/plan":           {"failover"},
	"probes":                  {"failover", "internal/backup", "internal/cloud", "internal/dnsq", "internal/dump", "internal/iam", "internal/kube", "internal/replset"},
	"monitor":                 {"failover"},
	"consensus":               {"failover", "internal/durable", "internal/mtls"},
	"fence":                   {"failover", "internal/boottime", "internal/durable"},
	"actions":                 {"failover", "failover/plan", "internal/backup", "internal/cloud", "internal/dnsq", "internal/iam", "internal/kube", "internal/replset", "internal/restore"},
	"internal/config":         {"failover", "failover/plan", "probes", "actions", "internal/iam"},
	"internal/notify":         {"failover"},
	"internal/admin":          {"failover", "failover/plan", "consensus"},
	"internal/web":            {"failover", "internal/admin"},
	"internal/backup":         {"internal/cloud", "internal/dump"},
	"internal/boottime":       {},
	"internal/cloud":          {},
	"internal/dnsq":           {},
	"internal/dump":           {},
	"internal/durable":        {},
	"internal/durabletest":    {},
	"internal/iam":            {},
	"internal/kube":           {"internal/cloud"},
	"internal/kubetest":       {}, // the lab builds it, too
	"internal/mariadbtest":    {},
	"internal/mongotest":      {}, // the lab builds it, too
	"internal/mtls":           {"internal/durable"},
	"internal/replset":        {},
	"internal/restore":        {"internal/backup", "internal/dump"},
	"internal/s3test":         {},
	"internal/sdnotify":       {},
	"model":                   {},
	"internal/mutants":        {}, // it reads the code as text
	"internal/sim/oracle":     {}, // it judges the daemon: it must not share its words
	"internal/falsealarm":     {"failover", "internal/config", "monitor"},
	"internal/falsealarm/cmd": {"internal/config", "internal/falsealarm"},
	"internal/daemon": {
		"failover", "failover/plan", "probes", "monitor", "consensus", "fence", "actions", "internal/config", "internal/notify", "internal/admin",
		"internal/web", "internal/boottime", "internal/cloud", "internal/dnsq", "internal/durable", "internal/mtls", "internal/sdnotify",
	},
	"internal/sim": {
		"failover", "failover/plan", "monitor", "consensus", "fence", "actions", "internal/daemon", "internal/sim/oracle", "internal/boottime",
	},
	"cmd/failoverd": {
		"failover", "failover/plan", "fence", "internal/admin", "internal/boottime", "internal/config", "internal/daemon", "internal/mtls", "internal/sdnotify",
	},
}

// pure are the packages that import the standard library only, and of it
// nothing that looks at the world.
var pure = []string{"failover", "failover/plan"}

var impure = []string{"os", "net", "net/http", "os/exec", "os/signal", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "sync", "syscall", "io/ioutil", "runtime"}

type pkg struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports         []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := imports[name]
		if !known {
			t.Errorf("package %s is not in the table of this test", name)
		}
		seen[name] = true
		for _, imp := range p.Imports {
			inside, ours := strings.CutPrefix(imp, module)
			switch {
			case ours && !slices.Contains(allowed, inside):
				t.Errorf("%s must not import %s: the consumer declares an interface, internal/daemon joins the two", name, inside)
			case !ours && slices.Contains(pure, name) && (strings.Contains(imp, ".") || slices.Contains(impure, imp)):
				t.Errorf("%s is pure and must not import %s", name, imp)
			}
		}
	}
	for name := range imports {
		if !seen[name] {
			t.Errorf("the table names %s, which does not exist", name)
		}
	}
}

// There is no registration by init, and the domain has no clock.
func TestNoInitNoClock(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, file := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch x := n.(type) {
				case *ast.FuncDecl:
					if x.Name.Name == "init" && x.Recv == nil {
						t.Errorf("%s: init registers behind the reader's back: list it in a table", fset.Position(x.Pos()))
					}
				case *ast.GoStmt:
					if slices.Contains(pure, name) {
						t.Errorf("%s: %s is pure and starts no goroutine", fset.Position(x.Pos()), name)
					}
				case *ast.SelectorExpr:
					id, ok := x.X.(*ast.Ident)
					if ok && id.Name == "time" && slices.Contains(pure, name) && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer", "Tick"}, x.Sel.Name) {
						t.Errorf("%s: %s is pure: time comes as an argument", fset.Position(x.Pos()), name)
					}
				}
				return true
			})
		}
	}
}

// Files stay short enough to be read at once.
func TestFilesAreShort(t *testing.T) {
	const limit = 500
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		data, err := os.ReadFile(path)
		if n := strings.Count(string(data), "\n"); n > limit {
			t.Errorf("%s has %d lines; %d are enough for one subject", path, n, limit)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
