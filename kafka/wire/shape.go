package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxTags bounds how many tagged fields a request may carry in all. Clients send
// a handful; each costs a decoder a map.
const MaxTags = 256

// Shape is the layout of a request in all its versions. Scanning a request by
// its shape before decoding it proves that every count and length in it fits the
// bytes it came with, so that a decoder which allocates what a count claims, or
// loops as often as it says, cannot be led to do more than the request's own size
// allows.
//
// A shape is written as the fields in their order, each a type with the versions
// that have it in front (none: all):
//
//	field    = [versions ":"] type | "#" tag ":" [versions ":"] type
//	versions = "3" | "3+" | "3-5"
//	type     = "int8" | "int16" | "int32" | "int64" | "bool" | "uuid"
//	         | "string" | "string?" | "bytes" | "bytes?"
//	         | "[" type "]" | "{" field... "}" | "?{" field... "}"
//
// A question mark allows null; arrays always may be null; a structure that may
// be null has a byte before it that says whether it is there. "#0:string?" is the
// tagged field number 0 of a flexible version.
type Shape struct {
	flexible int16 // the first flexible version; -1: none
	root     node
}

type kind uint8

const (
	fixed  kind = iota // size bytes
	str                // string
	raw                // bytes
	array              // of fields[0]
	object             // fields in order, then tags
)

type node struct {
	kind     kind
	size     int
	nullable bool
	min, max int16 // versions that have the field
	tag      int   // number of a tagged field, else -1
	fields   []node
}

var fixedSizes = map[string]int{"int8": 1, "bool": 1, "int16": 2, "int32": 4, "int64": 8, "uuid": 16}

// ParseShape reads the text form. flexible is the first flexible version, -1 if
// there is none.
func ParseShape(flexible int16, text string) (*Shape, error) {
	for _, bracket := range []string{"[", "]", "{", "}"} {
		text = strings.ReplaceAll(text, bracket, " "+bracket+" ")
	}
	p := shapeParser{words: strings.Fields(text)}
	root := node{kind: object, max: maxVersion, tag: -1, fields: p.fields("")}
	if p.err == nil && len(p.words) > 0 {
		p.err = fmt.Errorf("shape: %q has nothing to close", p.words[0])
	}
	return &Shape{flexible: flexible, root: root}, p.err
}

// MustShape is ParseShape for texts that are part of the program.
func MustShape(flexible int16, text string) *Shape {
	s, err := ParseShape(flexible, text)
	if err != nil {
		panic(err)
	}
	return s
}

// Flexible reports whether a version has compact lengths and tagged fields.
func (s *Shape) Flexible(version int16) bool { return s.flexible >= 0 && version >= s.flexible }

const maxVersion = 1<<15 - 1

type shapeParser struct {
	words []string
	err   error
}

func (p *shapeParser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *shapeParser) fields(end string) (fields []node) {
	for p.err == nil {
		if len(p.words) == 0 || p.words[0] == end {
			if p.next() != end {
				p.err = fmt.Errorf("shape: %q is missing", end)
			}
			return fields
		}
		if p.words[0] == "]" || p.words[0] == "}" {
			return fields
		}
		fields = append(fields, p.field())
	}
	return nil
}

func (p *shapeParser) field() node {
	word := p.next()
	minVersion, maximum, tag := int16(0), int16(maxVersion), -1
	for {
		prefix, rest, ok := strings.Cut(word, ":")
		if !ok {
			break
		}
		if number, isTag := strings.CutPrefix(prefix, "#"); isTag {
			tag = int(p.number(number))
		} else {
			minVersion, maximum = p.versions(prefix)
		}
		if word = rest; word == "" {
			word = p.next()
		}
	}
	n := p.typ(word)
	n.min, n.max, n.tag = minVersion, maximum, tag
	return n
}

func (p *shapeParser) versions(s string) (low, high int16) {
	if from, ok := strings.CutSuffix(s, "+"); ok {
		return p.number(from), maxVersion
	}
	if from, to, ok := strings.Cut(s, "-"); ok {
		return p.number(from), p.number(to)
	}
	return p.number(s), p.number(s)
}

func (p *shapeParser) number(s string) int16 {
	n, err := strconv.ParseInt(s, 10, 16)
	if err != nil {
		p.err = fmt.Errorf("shape: %q is not a number", s)
	}
	return int16(n)
}

func (p *shapeParser) typ(word string) node {
	name, nullable := strings.CutSuffix(word, "?")
	if size, ok := fixedSizes[name]; ok && !nullable {
		return node{kind: fixed, size: size}
	}
	switch name {
	case "string":
		return node{kind: str, nullable: nullable}
	case "bytes":
		return node{kind: raw, nullable: nullable}
	case "[":
		element := p.field()
		if p.next() != "]" && p.err == nil {
			p.err = fmt.Errorf("shape: an array of more than one type")
		}
		return node{kind: array, nullable: true, fields: []node{element}}
	case "{":
		return node{kind: object, fields: p.fields("}")}
	case "":
		if nullable && p.next() == "{" {
			return node{kind: object, nullable: true, fields: p.fields("}")}
		}
	}
	if p.err == nil {
		p.err = fmt.Errorf("shape: unknown type %q", word)
	}
	return node{}
}

// Scan checks that body is a request of the shape in that version, with nothing
// left over, or gives ErrMalformed. It allocates nothing, and its time is bounded
// by the body's length.
func (s *Shape) Scan(version int16, body []byte) error {
	rest, err := s.ScanPrefix(version, body)
	if err == nil && len(rest) > 0 {
		return ErrMalformed
	}
	return err
}

// ScanPrefix is Scan for a request behind which something may be left over; it
// returns that.
func (s *Shape) ScanPrefix(version int16, body []byte) (rest []byte, err error) {
	sc := scanner{version: version, flexible: s.Flexible(version)}
	r := NewReader(body, sc.flexible)
	if !sc.scan(&r, &s.root) {
		return nil, ErrMalformed
	}
	return r.Take(r.Len()), nil
}

type scanner struct {
	version  int16
	flexible bool
	tags     int
}

func (sc *scanner) has(n *node) bool { return n.min <= sc.version && sc.version <= n.max }

func (sc *scanner) scan(r *Reader, n *node) bool {
	switch n.kind {
	case fixed:
		r.Take(n.size)
	case str, raw:
		if length := r.length(n.kind == str); length >= 0 || !n.nullable {
			r.Take(length)
		}
	case array:
		for range r.Array(sc.minSize(&n.fields[0])) {
			if !sc.scan(r, &n.fields[0]) {
				return false
			}
		}
	case object:
		if n.nullable && r.Int8() < 0 {
			return !r.bad
		}
		for i := range n.fields {
			f := &n.fields[i]
			if f.tag < 0 && sc.has(f) && !sc.scan(r, f) {
				return false
			}
		}
		return sc.scanTags(r, n)
	}
	return !r.bad
}

// scanTags checks the tagged fields at the end of an object; those that the
// shape knows are themselves scanned, since a decoder will look inside.
func (sc *scanner) scanTags(r *Reader, n *node) bool {
	if !sc.flexible {
		return !r.bad
	}
	count := int(r.Uvarint())
	if sc.tags += count; sc.tags > MaxTags {
		return false
	}
	for range count {
		tag := r.Uvarint()
		value := NewReader(r.Take(int(r.Uvarint())), true)
		if r.bad {
			return false
		}
		for i := range n.fields {
			f := &n.fields[i]
			if f.tag == int(tag) && sc.has(f) && !sc.scan(&value, f) {
				return false
			}
		}
	}
	return !r.bad
}

// minSize is the least number of bytes that n can take.
func (sc *scanner) minSize(n *node) int {
	switch n.kind {
	case fixed:
		return n.size
	case str:
		if !sc.flexible {
			return 2
		}
	case raw, array:
		if !sc.flexible {
			return 4
		}
	case object:
		if n.nullable {
			return 1
		}
		total := 0
		for i := range n.fields {
			if f := &n.fields[i]; f.tag < 0 && sc.has(f) {
				total += sc.minSize(f)
			}
		}
		if sc.flexible {
			total++
		}
		return max(total, 1)
	}
	return 1
}
