package saltbroker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestOperationsKnowsEveryLineOfTheLog: each text that the program logs as a warning or worse stands in docs/operations.rst,
// up to its first value.
func TestOperationsKnowsEveryLineOfTheLog(t *testing.T) {
	text, err := os.ReadFile("docs/operations.rst")
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Join(strings.Fields(string(text)), " ")
	lines := 0
	for _, dir := range []string{"cmd", "pubproxy", "retproxy", "internal"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{"sim", "demo"}, d.Name()):
				return filepath.SkipDir
			case !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
				return nil
			}
			said, unseen := logged(t, path)
			for _, said := range said {
				lines++
				if !strings.Contains(known, said) {
					t.Errorf("%s: docs/operations.rst does not say what an operator should make of %q", path, said)
				}
			}
			if !slices.Equal(unseen, elsewhere[path]) {
				t.Errorf("%s logs by %q, want %q: no test knows what these say", path, unseen, elsewhere[path])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if lines < 15 {
		t.Errorf("only %d lines were found: the test looks in the wrong place", lines)
	}
}

// elsewhere are the calls that log a text which is not theirs. One line of docs/operations.rst is for all that each says.
var elsewhere = map[string][]string{
	"cmd/salt-broker/run.go":    {"log.Warn(w)"},   // of the configuration: begins with a key or a file
	"cmd/salt-broker/reload.go": {"b.log.Warn(w)"}, // the same
	"internal/supervise/stack.go": { // a panic
		`log.Log(logrus.FatalLevel, name + ": " + panicked.Error())`, "log.Log(logrus.FatalLevel, line)",
	},
}

// TestOperationsKnowsWhyItDoesNotStart: each text of an error that ends a start stands in docs/operations.rst, up to its first
// value.
func TestOperationsKnowsWhyItDoesNotStart(t *testing.T) {
	text, err := os.ReadFile("docs/operations.rst")
	if err != nil {
		t.Fatal(err)
	}
	known, found := strings.Join(strings.Fields(string(text)), " "), 0
	for _, name := range []string{"account", "daemon", "logfile", "pidfile", "ports", "serving"} {
		path := filepath.Join("cmd", "salt-broker", name+".go")
		calls(t, path, func(method *ast.SelectorExpr, args []ast.Expr) {
			pkg, ok := method.X.(*ast.Ident)
			if !ok || pkg.Name+"."+method.Sel.Name != "fmt.Errorf" && pkg.Name+"."+method.Sel.Name != "errors.New" {
				return
			}
			found++
			if said := longest(strings.ReplaceAll(literal(args[0]), "%s %d ", "")); !strings.Contains(known, said) {
				t.Errorf("%s: docs/operations.rst does not say what to do about %q", path, said)
			}
		})
	}
	if found < 15 {
		t.Errorf("only %d texts were found: the test looks in the wrong place", found)
	}
}

// TestOnlyTheJournalSpeaksOfPeers: what minions and other peers can cause goes through admission's journal, which limits the
// lines and has the address in each. Nothing else in the packages that meet them logs, but for what is not about one peer.
func TestOnlyTheJournalSpeaksOfPeers(t *testing.T) {
	about := map[string][]string{ // what else there is, and what it is about
		"internal/admission/absence.go": {"Warnf", "Errorf", "Warnf"}, // the port, when the master goes and comes
		"internal/admission/journal.go": {"Debugf", "Warnf", "Warn", "Errorf"},
		"internal/buffers/budget.go":    {"Warnf", "Warn"}, // all minions together; once a minute at most
		"pubproxy/cluster.go":           {"Info", "Warn"},  // which master serves
		"pubproxy/feed.go":              {"Warn"},          // paths to the master; once a minute at most
	}
	methods := []string{"Trace", "Tracef", "Debug", "Debugf", "Info", "Infof", "Warn", "Warnf", "Error", "Errorf", "Log", "Logf", "Print", "Printf", "Println"}
	for _, dir := range []string{"pubproxy", "retproxy", "internal/admission", "internal/heartbeat", "internal/buffers", "internal/reactor", "internal/zmtp"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			var found []string
			calls(t, path, func(method *ast.SelectorExpr, _ []ast.Expr) {
				if pkg, ok := method.X.(*ast.Ident); (!ok || pkg.Name != "fmt") && slices.Contains(methods, method.Sel.Name) {
					found = append(found, method.Sel.Name)
				}
			})
			if !slices.Equal(found, about[path]) {
				t.Errorf("%s logs by %q, want %q: lines about a peer belong to the journal", path, found, about[path])
			}
		}
	}
}

// calls calls fn for each call of a method, or of a function of another package, with its arguments.
func calls(t *testing.T, path string, fn func(method *ast.SelectorExpr, args []ast.Expr)) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if method, ok := call.Fun.(*ast.SelectorExpr); ok {
				fn(method, call.Args)
			}
		}
		return true
	})
}

// severe matches the methods of a logger for warnings and worse, and those that are told the level.
var severe = regexp.MustCompile(`^(Warn|Warning|Error|Fatal|Panic)(f|ln)?$|^Log(f|ln)?$`)

// logged returns what a file logs as warnings and worse: the longest part without a value of each text; and, as they stand
// there, the calls that do not have their text in them.
func logged(t *testing.T, path string) (said, unseen []string) {
	t.Helper()
	calls(t, path, func(method *ast.SelectorExpr, args []ast.Expr) {
		if strings.HasSuffix(path, "sink.go") && method.Sel.Name == "Sprintf" { // it is behind the logger
			said = append(said, longest(literal(args[0])))
		}
		if len(args) == 0 || !severe.MatchString(method.Sel.Name) {
			return
		}
		if pkg, ok := method.X.(*ast.Ident); ok && slices.Contains([]string{"fmt", "http"}, pkg.Name) {
			return
		}
		text := args[0]
		if strings.HasPrefix(method.Sel.Name, "Log") && len(args) > 1 { // behind the level, whichever it is
			text = args[1]
		}
		if text := literal(text); text != "" {
			said = append(said, longest(text))
			return
		}
		given := make([]string, len(args))
		for i, arg := range args {
			given[i] = types.ExprString(arg)
		}
		unseen = append(unseen, types.ExprString(method)+"("+strings.Join(given, ", ")+")")
	})
	return said, unseen
}

// literal is the beginning of a text that stands in the source.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return text
		}
	case *ast.BinaryExpr: // a long one, of pieces
		return literal(e.X)
	}
	return ""
}

// longest is what has no value in it, of the first clause; where that is a key, of the second: many lines begin with one.
func longest(text string) (part string) {
	clause, rest, _ := strings.Cut(text, ": ")
	if !strings.Contains(clause, " ") {
		second, _, _ := strings.Cut(rest, ": ")
		clause += ": " + second
	}
	for i, piece := range strings.Split(clause, "%") {
		if i > 0 && piece != "" {
			piece = piece[1:] // the verb
		}
		if piece = strings.Trim(piece, " ,()"); len(piece) > len(part) {
			part = piece
		}
	}
	return part
}
