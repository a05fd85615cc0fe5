package commands

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"understudy/config"
)

func newConfig(streams Streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Explain and check the settings of a broker",
	}, newConfigReference(streams), newConfigCheck(streams))
}

func newConfigReference(streams Streams) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "reference",
		Short: "Print every setting: what it is for, its default, what is allowed, how to set it",
		Long: `Print every setting: what it is for, its default, what is allowed, how to set it.

With -o yaml it is a configuration file with everything at its default, to start from.`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(config.Formats, format) {
				return wrongUsage(cmd, "--output %s: it is one of %s", format, strings.Join(config.Formats, ", "))
			}
			return config.Reference(streams.Out, format)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", strings.Join(config.Formats, ", "))
	return cmd
}

// checkResult is `config check` for programs.
type checkResult struct {
	Valid    bool             `json:"valid"`
	Problems []config.Problem `json:"problems,omitempty"`
	Warnings []string         `json:"warnings,omitempty"`
	Settings []config.Entry   `json:"settings,omitempty"`
}

func newConfigCheck(streams Streams) *cobra.Command {
	var out outputFlag
	var all bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file, together with the environment",
		Long: `Check a configuration file as the server would read it, together with the
environment, and show which settings were chosen and where. Every problem is
shown, not only the first. The exit code is 1 if there is one.`,
		Args: args(1, 1, "file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			c, warnings, loadErr := config.Load(config.Inputs{File: args[0], Env: os.Environ()})
			if asJSON {
				return writeCheckJSON(streams, &c, warnings, loadErr)
			}
			return writeCheckText(streams, args[0], &c, warnings, all, loadErr)
		},
	}
	out.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "show the settings that stand at their defaults, too")
	return cmd
}

func writeCheckJSON(streams Streams, c *config.Config, warnings []string, loadErr error) error {
	result := checkResult{Valid: loadErr == nil, Warnings: warnings}
	var problems config.Problems
	if errors.As(loadErr, &problems) {
		result.Problems = problems
	} else {
		result.Settings = c.Entries()
	}
	if err := writeJSON(streams.Out, result); err != nil {
		return err
	}
	if loadErr != nil {
		return fmt.Errorf("%s found", plural(len(result.Problems), "problem"))
	}
	return nil
}

func writeCheckText(streams Streams, file string, c *config.Config, warnings []string, all bool, loadErr error) error {
	for _, w := range warnings {
		streams.note("warning: %s", w)
	}
	var problems config.Problems
	if errors.As(loadErr, &problems) {
		for _, p := range problems {
			streams.note("%s", p)
		}
		return hint(fmt.Errorf("%s in the configuration", plural(len(problems), "problem")), "all settings are explained by: understudy config reference")
	}
	var rows [][]any
	for _, e := range c.Entries() {
		if all || c.Chosen(e.Key) {
			rows = append(rows, []any{e.Key, e.Value, e.Source})
		}
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintf(streams.Out, "%s is valid and sets nothing: every setting stands at its default\n", file)
		return err
	}
	if _, err := fmt.Fprintf(streams.Out, "%s is valid\n\n", file); err != nil {
		return err
	}
	return writeTable(streams.Out, []column{{name: "setting"}, {name: "value"}, {name: "from"}}, rows)
}
