package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile is far more than any configuration needs; it bounds what a wrong file
// name (a device, a segment) can cost.
const maxFile = 1 * mib

// yamlReader walks one file. Keys may be written flat or nested, as in
//
//	log.retention.ms: 7d
//	log:
//	  segment.bytes: 512MiB
type yamlReader struct {
	config   *Config
	file     string
	lines    []string
	seen     map[string]*token.Token // where each setting was set
	problems Problems
}

func (c *Config) readYAML(file string, text []byte) Problems {
	if len(text) > maxFile {
		return Problems{{Where: file, Message: "is larger than " + FormatSize(maxFile) + "; that is no configuration file"}}
	}
	r := &yamlReader{config: c, file: file, lines: strings.Split(string(text), "\n"), seen: make(map[string]*token.Token)}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		r.syntax(err)
		return r.problems
	}
	for i, doc := range tree.Docs {
		if i > 0 && doc.Body != nil {
			r.report(doc.Body.GetToken(), "", "a second document: a configuration is one")
			break
		}
		r.document(doc.Body)
	}
	return r.problems
}

func (r *yamlReader) document(body ast.Node) {
	switch n := body.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
	case *ast.MappingNode:
		r.mapping("", n.Values)
	case *ast.MappingValueNode:
		r.mapping("", []*ast.MappingValueNode{n})
	default:
		r.report(body.GetToken(), "", `expected settings, each as "name: value"`)
	}
}

func (r *yamlReader) mapping(prefix string, values []*ast.MappingValueNode) {
	for _, v := range values {
		key := prefix + keyText(v.Key)
		at := v.Key.GetToken()
		switch n := v.Value.(type) {
		case *ast.MappingNode:
			r.group(key, at, n.Values)
		case *ast.MappingValueNode:
			r.group(key, at, []*ast.MappingValueNode{n})
		default:
			r.value(key, at, v.Value)
		}
	}
}

// group reads the settings below a key that is the beginning of their names.
func (r *yamlReader) group(key string, at *token.Token, values []*ast.MappingValueNode) {
	known := false
	for _, s := range settings {
		known = known || strings.HasPrefix(s.Key, key+".")
	}
	switch {
	case known:
		r.mapping(key+".", values)
	case Lookup(key) != nil:
		r.report(at, key, "takes one value, not a group")
	default:
		r.report(at, "", unknown(key))
	}
}

func (r *yamlReader) value(key string, at *token.Token, node ast.Node) {
	s := Lookup(key)
	if s == nil {
		r.report(at, "", unknown(key))
		return
	}
	if first, ok := r.seen[key]; ok {
		r.report(at, key, fmt.Sprintf("was set before, in line %d", first.Position.Line))
		return
	}
	r.seen[key] = at
	text, err := scalar(node)
	if err == nil {
		err = r.config.set(s, text, Source(fmt.Sprintf("%s:%d", r.file, at.Position.Line)))
	}
	if err != nil {
		if tok := node.GetToken(); node.Type() != ast.NullType && tok != nil && tok.Position != nil {
			at = tok
		}
		r.report(at, key, err.Error())
	}
}

// scalar is the text of a plain value, whatever YAML takes it for: 1e3 and 0x10
// are not numbers to a setting, and "10s" needs no quotes.
func scalar(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	case *ast.NullNode:
		return "", errors.New("has no value")
	case *ast.SequenceNode:
		return "", errors.New("takes one value, not a list")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return "", errors.New("anchors, aliases and tags are not supported here")
	default:
		return "", errors.New("takes a plain value")
	}
}

func keyText(key ast.MapKeyNode) string {
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value
	}
	return key.String()
}

func (r *yamlReader) report(at *token.Token, key, message string) {
	line, column := at.Position.Line, at.Position.Column
	r.problems = append(r.problems, Problem{
		Where:   fmt.Sprintf("%s:%d:%d", r.file, line, column),
		Key:     key,
		Message: message,
		Snippet: snippet(r.lines, line, column),
	})
}

// snippet shows a place in a file, with the line before and the line after:
//
//	  2 | listen: 127.0.0.1:9092
//	> 3 | num.partition: 6
//	    | ^
//	  4 | log:
func snippet(lines []string, line, column int) string {
	var b strings.Builder
	width := len(strconv.Itoa(line + 1))
	for n := max(1, line-1); n <= min(len(lines), line+1); n++ {
		text, mark := strings.TrimRight(lines[n-1], "\r"), ' '
		if n == line {
			mark = '>'
		}
		if n > line && text == "" {
			break
		}
		fmt.Fprintf(&b, "%c %*d | %s\n", mark, width, n, text)
		if n == line {
			fmt.Fprintf(&b, "  %*s | %s^\n", width, "", blank(text, column-1))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// blank is as wide as the first n letters of text: tabs stay tabs.
func blank(text string, n int) string {
	runes := []rune(text)
	for i, c := range runes {
		if c != '\t' {
			runes[i] = ' '
		}
	}
	return string(runes[:max(0, min(n, len(runes)))])
}

// syntax reports what the YAML library could not read.
func (r *yamlReader) syntax(err error) {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil && e.GetToken().Position != nil {
		r.report(e.GetToken(), "", "not YAML: "+e.GetMessage())
		return
	}
	r.problems = append(r.problems, Problem{Where: r.file, Message: "not YAML: " + err.Error()})
}
