//go:build linux

// Package powerfs is a disk for real processes whose power can be cut: a file
// system in user space (FUSE) that lives in memory and forgets, when it is told
// to, what was not synced. What a cut takes is decided by the memory file system
// of package vfs, page by page and name by name, as the simulator has it.
//
//	process ──system calls──▶ kernel ──FUSE──▶ powerfs ──▶ vfs.Mem
//	                                                        │ Cut
//	                                                        ▼
//	                                              what was synced, and perhaps more
package powerfs

import (
	"cmp"
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"understudy/persistence/vfs"
)

// Disk is a mounted disk.
//
//	Mount ──▶ mounted ──Cut: unmounted, forgets, mounted again──▶ mounted ──Close──▶ gone
type Disk struct {
	dir    string
	server *fuse.Server

	full atomic.Bool

	mu  sync.Mutex
	mem *vfs.Mem
}

// Mount makes an empty disk and mounts it on a directory that is there. It needs
// root and /dev/fuse.
func Mount(dir string) (*Disk, error) {
	d := &Disk{dir: dir, mem: vfs.NewMem(vfs.MemOptions{PowerCuts: true})}
	return d, d.mount()
}

// Share makes a directory in which disks are to be mounted such that what is mounted
// and unmounted there is so for processes in mount namespaces of their own as well.
// Otherwise their copies of a mount would keep it alive. end takes that back.
func Share(dir string) (end func() error, err error) {
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		return nil, err
	}
	end = func() error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
	if err := syscall.Mount("", dir, "", syscall.MS_SHARED, ""); err != nil {
		return nil, errors.Join(err, end())
	}
	return end, nil
}

func (d *Disk) mount() error {
	server, err := fs.Mount(d.dir, &node{d: d}, &fs.Options{
		MountOptions:    fuse.MountOptions{DirectMountStrict: true, FsName: "powerfs", Name: "powerfs", MaxWrite: 1 << 20},
		NullPermissions: true,
	})
	d.server = server
	return err
}

// Cut cuts the power: what was not synced is gone, or a part of it, as chance has
// it. No process may have a file of the disk open.
func (d *Disk) Cut(rnd *rand.Rand) error {
	if err := d.server.Unmount(); err != nil {
		return err
	}
	d.mu.Lock()
	loss := []vfs.Loss{vfs.LoseAll, vfs.LoseTorn, vfs.LosePages, vfs.LoseMixed}[rnd.IntN(4)]
	d.mem = d.mem.Cut(loss, rnd)
	d.mu.Unlock()
	return d.mount()
}

// Fill leaves no room on the disk, or gives it back: a full disk takes no new files
// and nothing behind the end of old ones.
func (d *Disk) Fill(full bool) { d.full.Store(full) }

// Close takes the disk away, with all that is on it.
func (d *Disk) Close() error { return d.server.Unmount() }

func (d *Disk) fs() *vfs.Mem {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mem
}

// node is a name in the tree that the kernel knows; what it stands for is looked
// up by its path.
type node struct {
	fs.Inode
	d *Disk
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

func (n *node) path() string {
	if p := n.Path(n.Root()); p != "" {
		return p
	}
	return "."
}

func (n *node) child(name string) string { return path.Join(n.path(), name) }

// errno is the kernel's number for an error.
func errno(err error) syscall.Errno {
	var number syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &number):
		return number
	case errors.Is(err, iofs.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, iofs.ErrExist):
		return syscall.EEXIST
	}
	return syscall.EIO
}

// stat is what stands at a path.
func (n *node) stat(name string) (size int64, dir bool, number syscall.Errno) {
	if name == "." {
		return 0, true, 0
	}
	entries, err := n.d.fs().ReadDir(path.Dir(name))
	if err != nil {
		return 0, false, errno(err)
	}
	for _, e := range entries {
		if e.Name == path.Base(name) {
			return e.Size, e.Dir, 0
		}
	}
	return 0, false, syscall.ENOENT
}

func fill(a *fuse.Attr, size int64, dir bool) {
	a.Mode, a.Nlink = fuse.S_IFREG|0o600, 1
	if dir {
		a.Mode = fuse.S_IFDIR | 0o700
	}
	a.Size, a.Blocks, a.Blksize = uint64(size), uint64(size+511)/512, 4096
}

func (n *node) add(ctx context.Context, size int64, dir bool, out *fuse.EntryOut) *fs.Inode {
	fill(&out.Attr, size, dir)
	mode := uint32(fuse.S_IFREG)
	if dir {
		mode = fuse.S_IFDIR
	}
	return n.NewInode(ctx, &node{d: n.d}, fs.StableAttr{Mode: mode})
}

// Lookup finds a name in a directory.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	size, dir, number := n.stat(n.child(name))
	if number != 0 {
		return nil, number
	}
	return n.add(ctx, size, dir, out), 0
}

// Getattr tells a file's size.
func (n *node) Getattr(_ context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if h, ok := f.(*handle); ok {
		size, err := h.file.Size()
		fill(&out.Attr, size, false)
		return errno(err)
	}
	size, dir, number := n.stat(n.path())
	fill(&out.Attr, size, dir)
	return number
}

// Setattr changes a file's size; modes, owners and times are not kept.
func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if number := n.truncate(f, int64(size)); number != 0 {
			return number
		}
	}
	return n.Getattr(ctx, f, out)
}

func (n *node) truncate(f fs.FileHandle, size int64) syscall.Errno {
	if h, ok := f.(*handle); ok {
		return errno(h.file.Truncate(size))
	}
	file, err := n.d.fs().Open(n.path())
	if err != nil {
		return errno(err)
	}
	return errno(errors.Join(file.Truncate(size), file.Close()))
}

// Create makes a file and opens it.
func (n *node) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if n.d.full.Load() {
		return nil, nil, 0, syscall.ENOSPC
	}
	file, err := n.d.fs().Create(n.child(name))
	if err != nil {
		return nil, nil, 0, errno(err)
	}
	return n.add(ctx, 0, false, out), &handle{n.d, file}, 0, 0
}

// Open opens a file.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	file, err := n.d.fs().Open(n.path())
	if err == nil && flags&syscall.O_TRUNC != 0 {
		err = file.Truncate(0)
	}
	if err != nil {
		return nil, 0, errno(err)
	}
	return &handle{n.d, file}, 0, 0
}

// Readdir lists a directory.
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	entries, err := n.d.fs().ReadDir(n.path())
	if err != nil {
		return nil, errno(err)
	}
	var list []fuse.DirEntry
	for _, e := range entries {
		mode := uint32(fuse.S_IFREG)
		if e.Dir {
			mode = fuse.S_IFDIR
		}
		list = append(list, fuse.DirEntry{Name: e.Name, Mode: mode})
	}
	return fs.NewListDirStream(list), 0
}

// Mkdir makes a directory.
func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.d.full.Load() {
		return nil, syscall.ENOSPC
	}
	if err := n.d.fs().MkdirAll(n.child(name)); err != nil {
		return nil, errno(err)
	}
	return n.add(ctx, 0, true, out), 0
}

// Unlink removes a file.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return errno(n.d.fs().Remove(n.child(name)))
}

// Rmdir removes an empty directory.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	return errno(n.d.fs().Remove(n.child(name)))
}

// Rename gives a file another name.
func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, _ uint32) syscall.Errno {
	return errno(n.d.fs().Rename(n.child(name), to.(*node).child(newName)))
}

// Fsync makes a file, or the names in a directory, durable.
func (n *node) Fsync(_ context.Context, f fs.FileHandle, _ uint32) syscall.Errno {
	if h, ok := f.(*handle); ok {
		return errno(h.file.Sync())
	}
	return errno(n.d.fs().SyncDir(n.path()))
}

// Allocate does nothing but look whether there is room for what is allocated ahead.
func (n *node) Allocate(_ context.Context, _ fs.FileHandle, _, _ uint64, mode uint32) syscall.Errno {
	if n.d.full.Load() {
		return syscall.ENOSPC
	}
	if mode&keepSize == 0 {
		return syscall.EOPNOTSUPP
	}
	return 0
}

// keepSize is FALLOC_FL_KEEP_SIZE.
const keepSize = 1

// Statfs tells how much room there is.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const block = 4096
	out.Bsize, out.Frsize, out.NameLen = block, block, 255
	out.Blocks = 64 << 30 / block
	if !n.d.full.Load() {
		out.Bfree, out.Bavail = out.Blocks/2, out.Blocks/2
	}
	return 0
}

// handle is an open file.
type handle struct {
	d    *Disk
	file vfs.File
}

var (
	_ fs.FileReader   = (*handle)(nil)
	_ fs.FileWriter   = (*handle)(nil)
	_ fs.FileReleaser = (*handle)(nil)
)

// Read reads.
func (h *handle) Read(_ context.Context, into []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.file.ReadAt(into, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return fuse.ReadResultData(into[:n]), errno(err)
}

// Write writes, to memory that a power cut takes.
func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if h.d.full.Load() {
		if size, err := h.file.Size(); err != nil || off+int64(len(data)) > size {
			return 0, errno(cmp.Or(err, error(syscall.ENOSPC)))
		}
	}
	n, err := h.file.WriteAt(data, off)
	return uint32(n), errno(err)
}

// Release closes the file.
func (h *handle) Release(context.Context) syscall.Errno { return errno(h.file.Close()) }
