//go:build !linux

package server

import "errors"

// fileSender sends nothing here: records pass through pooled buffers.
type fileSender struct{}

func (f *fileSender) init(*Conn) {}

func (f *fileSender) can(Slice) bool { return false }

func (f *fileSender) send(Slice) (int, error) { return 0, errors.ErrUnsupported }

func (f *fileSender) writeMore([]byte) (int, error) { return 0, errors.ErrUnsupported }
