package saltbroker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
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
			for _, said := range logged(t, path) {
				lines++
				if !strings.Contains(known, said) {
					t.Errorf("%s: docs/operations.rst does not say what an operator should make of %q", path, said)
				}
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

// logged returns what a file logs as warnings and errors: the longest part without a value of each text.
func logged(t *testing.T, path string) (said []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Warn", "Warnf", "Error", "Errorf"}, method.Sel.Name) {
			return true
		}
		if pkg, ok := method.X.(*ast.Ident); ok && pkg.Name == "fmt" {
			return true
		}
		if text := literal(call.Args[0]); text != "" {
			said = append(said, longest(text))
		}
		return true
	})
	return said
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

// longest is what has no value in it, of the first clause.
func longest(text string) (part string) {
	text, _, _ = strings.Cut(text, ": ")
	for i, piece := range strings.Split(text, "%") {
		if i > 0 && piece != "" {
			piece = piece[1:] // the verb
		}
		if piece = strings.Trim(piece, " ,()"); len(piece) > len(part) {
			part = piece
		}
	}
	return part
}
