package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expected messages")

// TestInvalid compares the exact messages for each file of mistakes with the
// .err file beside it: what a person reads is part of the behaviour.
func TestInvalid(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid-*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			_, err := Load(file)
			if err == nil {
				t.Fatal("the file is accepted")
			}
			golden, got := strings.TrimSuffix(file, ".toml")+".err", err.Error()+"\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestValid(t *testing.T) {
	if _, err := Load("testdata/valid.toml"); err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.toml")
	for _, file := range append(files, examplePath) {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		// Whatever a file holds, reading it ends with values or with messages.
		if c, err := Parse("fuzz.toml", b); err == nil {
			_ = c.Hash()
			_ = Summary(c)
		} else {
			_ = err.Error()
		}
	})
}
