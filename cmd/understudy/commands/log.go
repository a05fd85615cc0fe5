package commands

import (
	"github.com/spf13/cobra"
)

const logPathHelp = `
A PATH is a segment (00000000000000000000.log), the directory of a partition, or
a data directory with partitions in it. The files are read where they lie: stop
the broker first, or expect the end of a log that is being written to look torn.
They are Kafka's files; those of a Kafka broker can be read as well.`

func newLog(streams Streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "log",
		Short: "Read and check the files of partitions, without a broker",
	}, newLogDump(streams), newLogVerify(streams))
}
