package vfs

import "testing"

// BenchmarkWriteV writes pieces of 64 KiB in four buffers over a file of 64 MiB.
func BenchmarkWriteV(b *testing.B) {
	for name, fsys := range map[string]FS{"OS": OS(b.TempDir()), "Mem": NewMem(MemOptions{})} {
		b.Run(name, func(b *testing.B) {
			f := create(b, fsys, "a", "")
			piece := make([]byte, 16<<10)
			buffers := [][]byte{piece, piece, piece, piece}
			b.SetBytes(64 << 10)
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				if _, err := f.WriteVAt(buffers, i%1024*(64<<10)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMemSmallFiles makes files of 100 bytes, as many partitions do.
func BenchmarkMemSmallFiles(b *testing.B) {
	m := NewMem(MemOptions{})
	data := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		f, err := m.Create("a")
		must(b, err)
		f.WriteAt(data, 0)
		f.Close()
		must(b, m.Remove("a"))
	}
}
