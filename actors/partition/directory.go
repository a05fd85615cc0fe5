package partition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strings"

	"understudy/messages"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// A partition's directory holds, beside its log, a file that says which creation
// of the topic it belongs to, in the format of Kafka's partition.metadata, and a
// checksum of what stands before it:
//
//	version: 0
//	topic_id: 6Zl8QcYhS1-7Zk0yGQ4hNA
//	crc32c: 4be0f1d2
//
// Files of before there were checksums are believed.
const (
	identityFile = "partition.metadata"
	identityText = "version: 0\ntopic_id: %s\n"
	identitySum  = "crc32c: "
	// doomed ends the name of a directory that is being deleted. What a crash
	// leaves of one is removed at the next start.
	doomed = "-delete"
)

// claimDirectory sees to it that what is in the partition's directory belongs to
// this creation of the topic. What belongs to an earlier one is a deletion that a
// crash cut off: it is carried out now. A directory whose identity cannot be read
// is taken for ours: the file was lost with the power, or has been damaged, and the log
// decides what the directory holds. It reports whether writeIdentity is still to be called.
func claimDirectory(files vfs.FS, tp messages.TopicPartition, id messages.TopicID) (unmarked bool, err error) {
	found, err := readIdentity(files, tp.String())
	switch {
	case err != nil:
		return true, nil
	case found == id:
		return false, nil
	}
	return true, removeDirectory(files, tp, found)
}

func readIdentity(files vfs.FS, dir string) (messages.TopicID, error) {
	var id messages.TopicID
	f, err := files.Open(dir + "/" + identityFile)
	if err != nil {
		return id, err
	}
	defer f.Close()
	text := make([]byte, 128)
	n, _ := f.ReadAt(text, 0)
	text = text[:n]
	damaged := func(why string) error {
		return messages.E("read", messages.CorruptMessage, dir+"/"+identityFile, errors.New(why))
	}
	if said, sum, ok := bytes.Cut(text, []byte(identitySum)); ok && string(bytes.TrimSpace(sum)) != checksum(said) {
		return id, damaged("its checksum is another")
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("topic_id: ")); ok {
			return id, id.UnmarshalText(bytes.TrimSpace(value))
		}
	}
	return id, damaged("names no topic id")
}

// checksum is what stands behind identitySum.
func checksum(text []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeIdentity marks a directory. The log makes the directory with the first
// append, and the file's name durable with the first flush after that.
func writeIdentity(files vfs.FS, dir string, id messages.TopicID) error {
	f, err := files.Create(dir + "/" + identityFile)
	if err != nil {
		return err
	}
	defer f.Close()
	text := fmt.Appendf(nil, identityText, id)
	_, err = f.WriteAt(fmt.Appendf(text, "%s%s\n", identitySum, checksum(text)), 0)
	return err
}

// removeDirectory deletes a partition's directory. It gets another name first,
// so that a crash half-way leaves nothing that looks like a log. That name has
// the topic's id and not its name, which may be as long as a file name can be.
func removeDirectory(files vfs.FS, tp messages.TopicPartition, id messages.TopicID) error {
	grave := fmt.Sprintf("%v-%d%s", id, tp.Partition, doomed)
	if err := files.Rename(tp.String(), grave); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := files.SyncDir("."); err != nil {
		return err
	}
	return files.RemoveAll(grave)
}

// Place says what the metadata has to do with a directory.
type Place struct {
	Partition messages.TopicPartition
	Topic     messages.TopicID // zero: there is no such partition
	Here      bool             // it has a replica on this broker
}

// SweepDirectories removes what is left of deletions that a crash cut off, and
// what is left of partitions whose replica has moved away while this broker was
// down. It names the directories that look like a partition's but are not in the
// metadata.
func SweepDirectories(files vfs.FS, find func(dir string) Place) (strays []string, err error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.Dir {
			continue
		}
		if strings.HasSuffix(e.Name, doomed) {
			if err := files.RemoveAll(e.Name); err != nil {
				return strays, err
			}
			continue
		}
		place := find(e.Name)
		if place.Here {
			continue
		}
		id, err := readIdentity(files, e.Name)
		switch {
		case err != nil && (place.Topic.IsZero() || !holdsLog(files, e.Name)): // no partition's
		case err == nil && id != place.Topic:
			strays = append(strays, e.Name)
		default: // this partition's, or the file that says so was lost with the power
			if err := removeDirectory(files, place.Partition, place.Topic); err != nil {
				return strays, err
			}
		}
	}
	return strays, nil
}

// holdsLog reports whether a directory looks like that of a log.
func holdsLog(files vfs.FS, dir string) bool {
	entries, err := files.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e vfs.Entry) bool {
		_, suffix, ok := segment.ParseName(e.Name)
		return ok && suffix == segment.LogSuffix && !e.Dir
	})
}
