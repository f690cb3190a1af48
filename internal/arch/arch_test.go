package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the tree that the checker reads, seen from the folder in which `go test` runs it.
const root = "../.."

func TestEveryFileKeepsTheDirections(t *testing.T) {
	t.Parallel()
	files := goFiles(t)
	if len(files) < 5 {
		t.Fatalf("read %d Go files under %s: the checker looks in the wrong place", len(files), root)
	}
	for _, rel := range files {
		src, err := os.ReadFile(filepath.Join(root, rel))
		if err != nil {
			t.Fatal(err)
		}
		s, err := parse(rel, src)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, broken := range check(s) {
			t.Error(broken)
		}
	}
}

func TestOnlyKnownFoldersHoldGo(t *testing.T) {
	t.Parallel()
	for _, rel := range goFiles(t) {
		first := top(rel)
		if first == rel {
			continue // a file in the root, see directions
		}
		if _, known := folders[first]; !known {
			t.Errorf("%s: the folder %s is not in the list of internal/arch/rules_test.go", rel, first)
		}
	}
}

func TestEveryRowHasAReason(t *testing.T) {
	t.Parallel()
	for _, table := range [][]row{directions, drivers, impureImports} {
		for _, r := range table {
			if r.why == "" {
				t.Errorf("the row of %s gives no reason", r.pkg)
			}
		}
	}
}

// goFiles returns every Go file of the tree, nested modules included, relative to root and with slashes.
func goFiles(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && isIgnored(d.Name(), rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(rel, ".go") {
			found = append(found, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk %s: %v", root, err)
	}
	return found
}

// isIgnored names the folders that the go command does not look into, and the one for built programs.
func isIgnored(name, rel string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") ||
		name == "testdata" || name == "node_modules" || rel == "bin"
}
