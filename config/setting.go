package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Type is what the text of a setting must be.
type Type string

// The types of setting.
const (
	Int      Type = "number"
	Size     Type = "size"     // bytes; 64MiB
	Duration Type = "duration" // 7d; a bare number counts milliseconds
	Bool     Type = "boolean"
	Text     Type = "text"
	Choice   Type = "choice"  // one of Choices
	Address  Type = "address" // host:port, [IPv6]:port, :port
	Share    Type = "share"   // a number from 0 to 1
)

// Setting is one row of the table: all that is known about one setting, and
// which field of Config it is.
type Setting struct {
	Key      string   // its name in the file; environment and flag follow from it
	Group    string   // heading in the reference
	Doc      string   // what it is for, in a sentence or a few
	Type     Type     //
	Default  string   // as it would be written in the file; empty where Derived says how it is found
	Derived  string   // for a default that depends on the machine or other settings: how it is found
	Min      int64    // lower bound: number, bytes or milliseconds
	Max      int64    // upper bound; 0: none but the type's own
	MinusOne string   // what -1 means where it is allowed: "no bound"
	Choices  []string // for Choice
	Off      string   // for Address: a word that means "none"
	DialedBy string   // for Address: who is told to connect to it, so that its port must be known
	Topic    string   // the topic setting that this one is the default of
	Common   bool     // shown in the server command's help

	field func(*Config) any // pointer to the field
}

// Env is the environment variable that sets it.
func (s *Setting) Env() string {
	return "UNDERSTUDY_" + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// Flag is the flag, without dashes, that sets it.
func (s *Setting) Flag() string { return strings.ReplaceAll(s.Key, ".", "-") }

// Bounds says in words what values are allowed; empty when the type says it all.
func (s *Setting) Bounds() string {
	var words string
	switch low, high := s.format(s.Min), s.format(s.Max); {
	case s.Type == Choice:
		words = "one of " + strings.Join(s.Choices, ", ")
	case s.Type == Address && s.Off != "":
		words = `host:port, or "` + s.Off + `"`
	case s.Type == Share:
		words = "0 to 1"
	case s.Type != Int && s.Type != Size && s.Type != Duration:
		return ""
	case s.Max == 0:
		words = "at least " + low
	default:
		words = low + " to " + high
	}
	if s.MinusOne != "" {
		words += ", or -1: " + s.MinusOne
	}
	return words
}

// format writes a bound in the setting's own unit.
func (s *Setting) format(n int64) string {
	switch s.Type {
	case Size:
		return FormatSize(n)
	case Duration:
		return FormatDuration(time.Duration(n) * time.Millisecond)
	default:
		return strconv.FormatInt(n, 10)
	}
}

// Get is the value in c as the file would hold it: "7d", "64MiB".
func (s *Setting) Get(c *Config) string {
	switch p := s.field(c).(type) {
	case *time.Duration:
		return FormatDuration(*p)
	case *int64:
		if s.Type == Size {
			return FormatSize(*p)
		}
	}
	return s.Raw(c)
}

// Raw is the value in c as Kafka's tools show it: milliseconds and bytes as
// bare numbers.
func (s *Setting) Raw(c *Config) string {
	switch p := s.field(c).(type) {
	case *time.Duration:
		return strconv.FormatInt(Millis(*p), 10)
	case *int64:
		return strconv.FormatInt(*p, 10)
	case *int32:
		return strconv.FormatInt(int64(*p), 10)
	case *int16:
		return strconv.FormatInt(int64(*p), 10)
	case *bool:
		return strconv.FormatBool(*p)
	case *float64:
		return strconv.FormatFloat(*p, 'g', -1, 64)
	case *string:
		return *p
	}
	return ""
}

// parse reads text into the field, within the bounds.
func (s *Setting) parse(c *Config, text string) error {
	switch p := s.field(c).(type) {
	case *time.Duration:
		d, err := ParseDuration(text)
		if err != nil {
			return err
		}
		*p = d
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*p = b
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		*p = f
	case *string:
		*p = text
	default:
		n, err := s.number(text)
		if err != nil {
			return err
		}
		setNumber(p, n)
	}
	return s.check(c)
}

// number reads a count or a size and refuses what the field cannot hold.
func (s *Setting) number(text string) (int64, error) {
	if s.Type == Size {
		return ParseSize(text)
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 32)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is out of range: allowed is %s", text, s.Bounds())
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	if high := s.max(); n > high {
		return 0, fmt.Errorf("%s is out of range: allowed is %s", text, s.Bounds())
	}
	return n, nil
}

func setNumber(field any, n int64) {
	switch p := field.(type) {
	case *int64:
		*p = n
	case *int32:
		*p = int32(n)
	case *int16:
		*p = int16(n)
	}
}

func (s *Setting) max() int64 {
	if s.Max == 0 {
		return math.MaxInt64
	}
	return s.Max
}

// check says what is wrong with the value in c, or nil.
func (s *Setting) check(c *Config) error {
	switch s.Type {
	case Bool:
		return nil
	case Text:
		if strings.ContainsFunc(s.Raw(c), func(r rune) bool { return r < ' ' }) {
			return errors.New("holds a control character")
		}
		return nil
	case Choice:
		if v := s.Raw(c); !slices.Contains(s.Choices, v) {
			return fmt.Errorf("%q is not %s", v, s.Bounds())
		}
		return nil
	case Address:
		return s.checkAddress(s.Raw(c))
	case Share:
		if f := *s.field(c).(*float64); !(f >= 0 && f <= 1) {
			return fmt.Errorf("%s is out of range: allowed is %s", s.Raw(c), s.Bounds())
		}
		return nil
	}
	n, err := strconv.ParseInt(s.Raw(c), 10, 64)
	if err != nil {
		return err
	}
	if s.MinusOne != "" && n == Unlimited {
		return nil
	}
	if n < s.Min || n > s.max() {
		return fmt.Errorf("%s is out of range: allowed is %s", s.Get(c), s.Bounds())
	}
	return nil
}

func (s *Setting) checkAddress(v string) error {
	if v == "" && s.Derived != "" || v != "" && v == s.Off {
		return nil
	}
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is not host:port (an IPv6 address stands in brackets: [::1]:9092)", v)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: port %q is not a number from 0 to 65535", v, port)
	} else if n == 0 && s.DialedBy != "" {
		return fmt.Errorf("%q: %s need a port to connect to, and 0 is none", v, s.DialedBy)
	}
	return nil
}
