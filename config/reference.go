package config

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Formats are the ways that the reference can be written.
var Formats = []string{"text", "markdown", "yaml", "json"}

// Entry is all about one setting, for programs.
type Entry struct {
	Key      string `json:"key"`
	Group    string `json:"group"`
	Type     Type   `json:"type"`
	Default  string `json:"default"` // in words where Derived
	Derived  bool   `json:"derived,omitempty"`
	Allowed  string `json:"allowed,omitempty"`
	Env      string `json:"env"`
	Flag     string `json:"flag"`
	Topic    string `json:"topic_setting,omitempty"`
	Doc      string `json:"doc"`
	Value    string `json:"value,omitempty"`  // in a configuration that was loaded
	Source   Source `json:"source,omitempty"` // of Value
	RawValue string `json:"raw_value,omitempty"`
}

func (s *Setting) entry() Entry {
	return Entry{
		Key: s.Key, Group: s.Group, Type: s.Type, Default: s.Default + s.Derived, Derived: s.Derived != "",
		Allowed: s.Bounds(), Env: s.Env(), Flag: "--" + s.Flag(), Topic: s.Topic, Doc: s.Doc,
	}
}

// Entries are all settings with their values in c, for `config check`.
func (c *Config) Entries() []Entry {
	entries := make([]Entry, len(settings))
	for i, s := range settings {
		entries[i] = s.entry()
		entries[i].Value, entries[i].RawValue, entries[i].Source = s.Get(c), s.Raw(c), c.Source(s.Key)
	}
	return entries
}

// Reference writes all there is to know about all settings, in one of Formats.
func Reference(w io.Writer, format string) error {
	switch format {
	case "text":
		return writeAll(w, textHeading, textEntry)
	case "markdown":
		return writeAll(w, markdownHeading, markdownEntry)
	case "yaml":
		return writeAll(w, yamlHeading, yamlEntry)
	case "json":
		entries := make([]Entry, len(settings))
		for i, s := range settings {
			entries[i] = s.entry()
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(entries)
	}
	return fmt.Errorf("there is no reference as %q; take one of %s", format, strings.Join(Formats, ", "))
}

func writeAll(w io.Writer, heading func(group string, first bool) string, entry func(Entry) string) error {
	var b strings.Builder
	group := ""
	for i, s := range settings {
		if s.Group != group {
			group = s.Group
			b.WriteString(heading(group, i == 0))
		}
		b.WriteString(entry(s.entry()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func textHeading(group string, first bool) string {
	if first {
		return "Settings come from flags, else the environment, else the file, else the default.\n\n" + group + "\n"
	}
	return "\n" + group + "\n"
}

func textEntry(e Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %s\n", e.Key)
	for _, line := range wrap(e.Doc, 72) {
		fmt.Fprintf(&b, "      %s\n", line)
	}
	for _, row := range [][2]string{
		{"type", string(e.Type)}, {"default", e.Default}, {"allowed", e.Allowed},
		{"variable", e.Env}, {"flag", e.Flag}, {"default of", e.Topic},
	} {
		if row[1] != "" {
			fmt.Fprintf(&b, "      %-10s  %s\n", row[0], row[1])
		}
	}
	return b.String()
}

func markdownHeading(group string, first bool) string {
	head := "\n## " + group + "\n\n| setting | type | default | allowed | what it is for |\n| --- | --- | --- | --- | --- |\n"
	if first {
		return "# Settings\n\nSettings come from flags, else the environment, else the file, else the default. " +
			"`log.retention.ms` is `UNDERSTUDY_LOG_RETENTION_MS` in the environment and `--log-retention-ms` as a flag.\n" + head
	}
	return head
}

func markdownEntry(e Entry) string {
	def := e.Default
	if def != "" && !e.Derived {
		def = "`" + def + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", e.Key, e.Type, def, e.Allowed, e.Doc)
}

func yamlHeading(group string, first bool) string {
	if first {
		return "# A configuration with every setting at its default. Take the comment sign off what you change.\n\n# == " + group + " ==\n"
	}
	return "\n# == " + group + " ==\n"
}

func yamlEntry(e Entry) string {
	var b strings.Builder
	b.WriteString("\n")
	for _, line := range wrap(e.Doc, 76) {
		fmt.Fprintf(&b, "# %s\n", line)
	}
	if e.Allowed != "" {
		fmt.Fprintf(&b, "# Allowed: %s.\n", e.Allowed)
	}
	if e.Derived {
		fmt.Fprintf(&b, "# Default: %s.\n#%s:\n", e.Default, e.Key)
		return b.String()
	}
	value := e.Default
	if value == "" || strings.ContainsAny(value, ": #") && e.Type == Text {
		value = `"` + value + `"`
	}
	fmt.Fprintf(&b, "#%s: %s\n", e.Key, value)
	return b.String()
}

// wrap breaks text between words into lines of at most width letters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
