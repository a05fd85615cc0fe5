// Package topicconfig knows the settings of topics and of brokers that can be
// seen and changed over the Kafka protocol: their names, types, defaults and
// bounds, in one table each ([Topic] and [Broker]). It is pure.
//
// A topic's setting has its value from the first of these that names it:
//
//	the topic itself                       retention.ms          ("dynamic topic")
//	this broker's changed settings         log.retention.ms      ("dynamic broker")
//	the settings changed for all brokers   log.retention.ms      ("dynamic default broker")
//	what the broker was started with       log.retention.ms      ("static broker")
//	the default in the table                                     ("default")
//
// [Parse] gives the values typed, [Check] refuses what does not go together, [Table.Alter] changes a set of overrides and
// refuses what cannot be, [DescribeTopic] and [DescribeBroker] list all of it
// for the tools. Errors name the setting, the value and what is allowed.
package topicconfig

import (
	"fmt"
	"slices"
	"strings"

	"understudy/internal/nearest"
	"understudy/messages"
)

// Type is a setting's type, with the numbers that DescribeConfigs uses.
type Type int8

// The types that occur.
const (
	Bool   Type = 1
	String Type = 2
	Int    Type = 3 // 32 bits
	Short  Type = 4
	Long   Type = 5
	Double Type = 6
	List   Type = 7 // comma-separated
)

// Setting is one entry of a table.
type Setting struct {
	Name    string
	Broker  string // of a topic's setting: what the broker's default for it is called; "": there is none
	Type    Type
	Default string
	Doc     string // what it does, its unit; for one without effect, why it has none
	Fixed   bool   // of a broker's setting: cannot be changed while running

	rule rule
	set  func(*Settings, value) // nil if nothing in the broker reads it
}

// Table is a set of settings by name.
type Table struct {
	what     string // "topic setting", for errors
	settings []Setting
	index    map[string]int
}

func newTable(what string, settings []Setting) *Table {
	t := &Table{what: what, settings: settings, index: make(map[string]int, len(settings))}
	slices.SortFunc(t.settings, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
	for i, s := range t.settings {
		t.index[s.Name] = i
	}
	return t
}

// All lists the settings by name. The slice is shared and must not be changed.
func (t *Table) All() []Setting { return t.settings }

// Lookup finds a setting, or an error that suggests the name that was meant.
func (t *Table) Lookup(name string) (*Setting, error) {
	if i, ok := t.index[name]; ok {
		return &t.settings[i], nil
	}
	cause := fmt.Errorf("there is no such %s", t.what)
	if near := t.nearest(name); near != "" {
		cause = fmt.Errorf("there is no such %s; did you mean %s?", t.what, near)
	}
	return nil, messages.E("config", messages.InvalidConfig, clip(name), cause)
}

// Check says what is wrong with a value, or nil.
func (s *Setting) Check(text string) error {
	_, err := s.parse(text)
	return err
}

func (s *Setting) parse(text string) (value, error) {
	v, err := s.rule.parse(strings.TrimSpace(text))
	if err != nil {
		return v, messages.E("config", messages.InvalidConfig, s.Name, err)
	}
	return v, nil
}

// clip keeps hostile input out of error texts.
func clip(s string) string {
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// nearest finds the known name that a misspelt one is closest to; "" if none is close.
func (t *Table) nearest(name string) string {
	return nearest.Name(name, func(yield func(string) bool) {
		for _, s := range t.settings {
			if !yield(s.Name) {
				return
			}
		}
	})
}
