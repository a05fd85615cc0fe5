package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"understudy"
	"understudy/config"
)

// stopWithin is how long an orderly stop may take before the rest is left to the
// next start. Whoever sent SIGTERM waits 2 s. Tests, which wait for longer, lengthen it.
var stopWithin = 1800 * time.Millisecond

func newServer(streams Streams) *cobra.Command {
	given := make(map[string]string) // by setting, as flags
	var file string
	var adopt bool
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Start a broker",
		Long: `Start a broker. One line beginning with "ready" on standard output says that it
serves and where. SIGTERM or SIGINT ends it in order; a second one at once.

Every setting can be given as a flag, an environment variable or a line of the
configuration file; the flags below are those that are needed most. All are
explained by: understudy config reference`,
		Example: `  understudy server
  understudy server --listen :9092 --advertise broker-1.example.com:9092 --data-dir /var/lib/understudy
  understudy server --config broker.yaml --num-partitions 6`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				file = os.Getenv("UNDERSTUDY_CONFIG")
			}
			cfg, warnings, err := config.Load(config.Inputs{File: file, Env: os.Environ(), Flags: given})
			if err != nil {
				return hint(err, "all settings are explained by: understudy config reference")
			}
			log := newLogger(cfg, streams.Err)
			for _, w := range warnings {
				log.Warn().Msg(w)
			}
			var options []understudy.Option
			if adopt {
				options = append(options, understudy.WithAdoption())
			}
			return serve(cmd.Context(), streams, cfg, log, options...)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file, YAML (environment: UNDERSTUDY_CONFIG)")
	cmd.Flags().BoolVar(&adopt, "adopt", false, "with --cluster: a broker that has run alone becomes the first node of a new cluster and brings its topics along")
	addSettings(cmd, given)
	return cmd
}

// addSettings makes every setting a flag. Only the common ones are shown.
func addSettings(cmd *cobra.Command, given map[string]string) {
	for _, s := range config.Settings() {
		words, _, _ := strings.Cut(strings.TrimSuffix(s.Doc, "."), ". ")
		if s.Derived != "" {
			words += "; default: " + s.Derived
		}
		f := cmd.Flags().VarPF(&settingFlag{setting: s, given: given}, s.Flag(), "", words)
		f.Hidden = !s.Common
		if s.Type == config.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// settingFlag takes a setting's text; config.Load reads it with all the rest, so
// that it is checked and reported in one place.
type settingFlag struct {
	setting *config.Setting
	given   map[string]string
}

// String is the default, for the help.
func (f *settingFlag) String() string {
	if f.setting == nil {
		return ""
	}
	return f.setting.Default
}

// Set takes the text as it is.
func (f *settingFlag) Set(text string) error {
	f.given[f.setting.Key] = text
	return nil
}

// Type is what the help calls the value.
func (f *settingFlag) Type() string {
	switch f.setting.Type {
	case config.Address:
		return "host:port"
	case config.Bool:
		return "bool"
	case config.Choice:
		return strings.Join(f.setting.Choices, "|")
	}
	if f.setting.Key == "data.dir" {
		return "dir"
	}
	return string(f.setting.Type)
}

func newLogger(cfg config.Config, w io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(cfg.Logging.Level)
	if err != nil { // config has checked it
		level = zerolog.InfoLevel
	}
	if cfg.Logging.Format == "console" || cfg.Logging.Format == "auto" && isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000", NoColor: !isTerminal(w)}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// serve runs a broker until ctx ends.
func serve(ctx context.Context, streams Streams, cfg config.Config, log zerolog.Logger, options ...understudy.Option) error {
	if os.Getenv("GOMEMLIMIT") == "" && !cfg.InMemory {
		debug.SetMemoryLimit(cfg.MemoryLimit) // the collector works harder before that is reached
	}
	b, err := understudy.Start(ctx, cfg, append(options, understudy.WithLogger(log))...)
	if err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return cannotStart(cfg, err)
	}
	if _, err := fmt.Fprintln(streams.Out, readyLine(b, cfg)); err != nil {
		log.Warn().Err(err).Msg("the ready line could not be written")
	}
	select {
	case <-ctx.Done():
		log.Info().Msg("stopping")
	case <-b.Done():
		return errors.New("the broker has stopped by itself; its last words are above")
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := b.Stop(stopCtx); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	log.Info().Msg("stopped")
	return nil
}

// readyLine is what scripts wait for:
//
//	ready: kafka 127.0.0.1:9092 (clients are told 127.0.0.1:9092), admin http://127.0.0.1:9644, data ./understudy-data
func readyLine(b *understudy.Broker, cfg config.Config) string {
	line := fmt.Sprintf("ready: kafka %s (clients are told %s)", b.Addr(), b.AdvertisedAddr())
	if admin := b.AdminAddr(); admin != nil {
		line += ", admin http://" + admin.String()
	}
	if cfg.InMemory {
		return line + ", data in memory"
	}
	return line + ", data " + cfg.DataDir
}

// cannotStart says what to do about the usual reasons.
func cannotStart(cfg config.Config, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return hint(err, "is another broker running? take another port with --listen HOST:PORT (0 picks one), and --admin-listen HOST:PORT or off")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return hint(err, "--listen takes an address of this machine; to be reached by another name, use --advertise")
	case errors.Is(err, os.ErrPermission):
		return hint(err, "may this user write to %s? another place: --data-dir DIR", cfg.DataDir)
	case errors.Is(err, syscall.ENOSPC):
		return hint(err, "make room on the disk of %s, or take another place: --data-dir DIR", cfg.DataDir)
	}
	return err
}
