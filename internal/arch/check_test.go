package arch

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const module = "gavel"

// source is one parsed Go file.
type source struct {
	path string // relative to the root, with slashes
	pkg  string // its folder
	fset *token.FileSet
	file *ast.File
}

// parse reads one file; src is as for parser.ParseFile.
func parse(rel string, src any) (source, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, fmt.Errorf("parse %s: %w", rel, err)
	}
	return source{path: rel, pkg: path.Dir(rel), fset: fset, file: f}, nil
}

// isTest reports whether only `go test` compiles the file: a _test.go file, or one of a conformance suite (X/Xtest).
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") || isSuite(s.pkg) }

// isExternal reports whether the file belongs to the external test package of its folder.
func (s source) isExternal() bool {
	return s.isTest() && strings.HasSuffix(s.file.Name.Name, "_test")
}

// imports maps each import path to the name it goes by in the file.
func (s source) imports() map[string]string {
	found := make(map[string]string, len(s.file.Imports))
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it already
		}
		name := path.Base(p)
		if name == "v2" {
			name = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		found[p] = name
	}
	return found
}

// check returns every rule that the file breaks.
func check(s source) []string {
	var broken []string
	report := func(format string, args ...any) {
		broken = append(broken, s.path+": "+fmt.Sprintf(format, args...))
	}
	if s.pkg == "." {
		if !underDepsTag(s.file) {
			report("a Go file in the root: the root holds documents only")
		}
		return broken
	}
	if _, _, known := allowance(s.pkg); !known {
		report("package %s has no row in internal/arch/rules_test.go: add one with its reason", s.pkg)
		return broken
	}
	checkDirections(s, report)
	if !s.isTest() {
		checkDrivers(s, report)
		checkSQL(s, report)
		if slices.Contains(pure, s.pkg) {
			checkPure(s, report)
		}
	}
	return broken
}

func checkDirections(s source, report func(string, ...any)) {
	for p := range s.imports() {
		to, ours := strings.CutPrefix(p, module+"/")
		if !ours && p != module {
			continue
		}
		may, why, _ := allowance(s.pkg)
		if s.isTest() {
			may = append(slices.Clone(may), mayTest(s)...)
		}
		if !admits(may, s.pkg, to) {
			report("imports %s; %s may import only [%s]: %s", p, s.pkg, strings.Join(may, " "), why)
		}
	}
}

// allowance says what the non-test files of a package may import, why, and whether a rule covers the package at all.
func allowance(pkg string) (may []string, why string, known bool) {
	for _, r := range directions {
		if covers(r.pkg, pkg) {
			return r.may, r.why, true
		}
	}
	parent, name := path.Split(pkg)
	parent = strings.TrimSuffix(parent, "/")
	switch {
	case top(pkg) == "cmd":
		return []string{everything}, "only cmd wires", true
	case top(pkg) == "internal":
		return []string{leaves}, "a leaf stands on leaves", true
	case slices.Contains(adapters, name) && isDomain(parent):
		may, _, _ = allowance(parent)
		return append([]string{parent, leaves}, may...), "adapters never import each other", true
	case isSuite(pkg) && isDomain(parent):
		may, _, _ = allowance(parent)
		return append([]string{parent}, may...), "a suite knows the port, not who implements it", true
	}
	return nil, "", false
}

// mayTest is what test files may import beyond their package's own arrows. A test in the external package may build the
// real thing around the package: any adapter. One of an adapter may use any domain package to lay its tables out.
func mayTest(s source) []string {
	more := []string{s.pkg, "internal/testenv", leaves}
	if isDomain(s.pkg) {
		more = append(more, s.pkg+"/"+path.Base(s.pkg)+"test")
	}
	onAdapter := slices.Contains(adapters, path.Base(s.pkg))
	if onAdapter {
		domain := path.Dir(s.pkg)
		more = append(more, domain+"/"+path.Base(domain)+"test")
	}
	if s.isExternal() || s.pkg == "handlers" || onAdapter {
		more = append(more, "migrations")
		for _, name := range adapters {
			more = append(more, "*/"+name)
		}
	}
	if onAdapter || s.pkg == "handlers" {
		for _, r := range directions {
			if isDomain(r.pkg) {
				more = append(more, r.pkg)
			}
		}
	}
	return more
}

// admits reports whether one of the patterns in may covers the folder to, seen from the folder from.
func admits(may []string, from, to string) bool {
	if to == from || to == module { // a test's own package; the root, which is nobody's
		return to == from
	}
	if who, closed := notLeaves[to]; closed {
		return slices.Contains(may, to) || slices.Contains(who, from) || slices.Contains(who, top(from))
	}
	if isSuite(to) {
		return slices.Contains(may, to)
	}
	return slices.ContainsFunc(may, func(pattern string) bool { return covers(pattern, to) })
}

// covers matches a folder or an import path: "*" is all, "*/x" ends in x one level down, "x/*" is x and all below it.
func covers(pattern, p string) bool {
	if pattern == everything || pattern == p {
		return true
	}
	if last, ok := strings.CutPrefix(pattern, "*/"); ok {
		return path.Base(p) == last && isDomain(path.Dir(p))
	}
	if stem, ok := strings.CutSuffix(pattern, "/*"); ok {
		return p == stem || strings.HasPrefix(p, stem+"/")
	}
	return false
}

func top(pkg string) string {
	first, _, _ := strings.Cut(pkg, "/")
	return first
}

// isDomain reports whether pkg is one of the packages at the root that hold the domain.
func isDomain(pkg string) bool {
	switch pkg {
	case "auction", "targeting", "budget", "ranking", "pacing", "campaign", "event", "report":
		return true
	}
	return false
}

// isSuite reports whether pkg is a conformance suite: budget/budgettest.
func isSuite(pkg string) bool {
	return path.Base(pkg) == path.Base(path.Dir(pkg))+"test"
}

func checkDrivers(s source, report func(string, ...any)) {
	for p := range s.imports() {
		for _, d := range drivers {
			if !covers(d.pkg, p) || inFolders(d.may, s.pkg) {
				continue
			}
			report("imports %s, allowed only in [%s]: %s", p, strings.Join(d.may, " "), d.why)
		}
	}
}

// inFolders reports whether pkg is in, or is below a top-level folder of, the list.
func inFolders(list []string, pkg string) bool {
	return slices.ContainsFunc(list, func(f string) bool { return covers(f, pkg) || f == top(pkg) })
}

var sqlText = regexp.MustCompile(`^\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|WITH\s+\S+\s+AS\s*\(|TRUNCATE\s)`)

func checkSQL(s source, report func(string, ...any)) {
	if inFolders(sqlFolders, s.pkg) {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		if text, err := strconv.Unquote(lit.Value); err == nil && sqlText.MatchString(text) {
			report("line %d holds SQL, allowed only in [%s]", s.fset.Position(lit.Pos()).Line, strings.Join(sqlFolders, " "))
		}
		return true
	})
}

func checkPure(s source, report func(string, ...any)) {
	names := map[string]string{} // local name → import path
	for p, name := range s.imports() {
		names[name] = p
		for _, r := range impureImports {
			if covers(r.pkg, p) {
				report("imports %s, but %s does no I/O: %s", p, s.pkg, r.why)
			}
		}
		if name == "." {
			report("imports %s with a dot, which hides where its names come from", p)
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && isImpure(names[id.Name], sel.Sel.Name) {
			report("line %d uses %s.%s, but %s takes time and randomness as values",
				s.fset.Position(sel.Pos()).Line, id.Name, sel.Sel.Name, s.pkg)
		}
		return true
	})
}

func isImpure(importPath, name string) bool {
	switch importPath {
	case "math/rand", "math/rand/v2":
		return !seeded[name]
	}
	return slices.Contains(impureNames[importPath], name)
}

// underDepsTag reports whether only the build tag deps compiles the file.
func underDepsTag(f *ast.File) bool {
	for _, group := range f.Comments {
		for _, c := range group.List {
			if x, err := constraint.Parse(c.Text); err == nil && c.Pos() < f.Package {
				return x.String() == "deps"
			}
		}
	}
	return false
}
