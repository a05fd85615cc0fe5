package commands

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is set by the linker for releases:
//
//	go build -ldflags "-X understudy/cmd/understudy/commands.Version=1.2.3"
var Version string

// versionInfo is what there is to know about the binary.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // the commit it was built from
	Modified bool   `json:"modified,omitempty"` // with changes that were not committed
	Time     string `json:"time,omitempty"`     // of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(streams Streams) *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Args:  args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			info, _ := debug.ReadBuildInfo()
			v := readVersion(info)
			if asJSON {
				return writeJSON(streams.Out, v)
			}
			_, err = fmt.Fprintln(streams.Out, v)
			return err
		},
	}
	out.add(cmd)
	return cmd
}

func readVersion(info *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return v
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String reads "understudy 1.2.3 (commit 0a1b2c3, modified), go1.26.8 linux/amd64".
func (v versionInfo) String() string {
	s := "understudy " + v.Version
	if v.Version == "" || v.Version == "(devel)" {
		s = "understudy (development)"
	}
	if v.Revision != "" {
		s += " (commit " + v.Revision[:min(12, len(v.Revision))]
		if v.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return s + ", " + v.Go + " " + v.Platform
}
