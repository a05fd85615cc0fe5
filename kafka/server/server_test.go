package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"understudy/kafka/wire"
)

// echo answers with what it was asked, in the way that the API key says.
type echo struct {
	limit   int
	handled atomic.Int32
	later   chan *Request // requests of key 1
	slices  []*testSlice  // the answer to key 5
	gone    chan struct{} // closed when a request of key 6 is abandoned

	crashing chan struct{} // closed before a request of key 9 panics
}

func (e *echo) Limit(int16) int { return e.limit }

func (e *echo) Handle(r *Request) {
	e.handled.Add(1)
	switch r.Key {
	case 0:
		r.Reply(&echoed{body: r.Body}, false)
	case 1:
		e.later <- r
	case 2:
		r.Skip()
	case 3:
		r.Abort()
	case 4:
		panic("the handler crashed")
	case 5:
		r.Reply(&sliced{slices: e.slices}, false)
	case 6:
		r.FreeBody()
		r.Wait(&abandoned{r, e.gone})
	case 7:
		r.Reply(&echoed{crash: true}, false)
	case 8:
		body := r.Body
		r.Beside(func() {
			(<-e.later).Reply(&echoed{body: []byte("later")}, false)
			r.Reply(&echoed{body: body}, false)
		})
	case 9:
		r.Beside(func() {
			for conn := r.Conn(); ; runtime.Gosched() { // the reader has ended by then
				conn.mu.Lock()
				gone := conn.gone
				conn.mu.Unlock()
				if gone {
					close(e.crashing)
					panic("the handler crashed beside the reader")
				}
			}
		})
	}
}

type echoed struct {
	body  []byte
	crash bool
}

func (e *echoed) AppendTo(w *Writer) {
	if e.crash {
		panic("the answer crashed")
	}
	w.Bytes(e.body)
}

func (e *echoed) Release() {}

type abandoned struct {
	r    *Request
	told chan struct{}
}

func (a *abandoned) Abandon(bool) {
	close(a.told)
	go a.r.Skip()
}

type sliced struct{ slices []*testSlice }

func (s *sliced) AppendTo(w *Writer) {
	for i, slice := range s.slices {
		w.B = append(w.B, byte(i))
		w.Records(slice)
	}
	w.B = append(w.B, 0xEE)
}

func (s *sliced) Release() {
	for _, slice := range s.slices {
		slice.released.Add(1)
	}
}

// testSlice is a range of a file.
type testSlice struct {
	file     *os.File
	off      int64
	n        int
	noFile   bool
	fail     error
	released atomic.Int32
}

func (s *testSlice) Len() int { return s.n }

func (s *testSlice) AppendTo(dst []byte) ([]byte, error) {
	if s.fail != nil {
		return nil, s.fail
	}
	at := len(dst)
	dst = append(dst, make([]byte, s.n)...)
	_, err := s.file.ReadAt(dst[at:], s.off)
	return dst, err
}

func (s *testSlice) File() (uintptr, int64, bool) { return s.file.Fd(), s.off, !s.noFile }

func frame(key int16, correlation int32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(headerSize+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	return append(b, body...)
}

func readAnswer(t testing.TB, r io.Reader) (correlation int32, body []byte) {
	t.Helper()
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	body = make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	return int32(binary.BigEndian.Uint32(head[4:])), body
}

func start(t testing.TB, h *echo, change func(*Options)) (*Server, string) {
	t.Helper()
	o := Options{Limits: DefaultLimits(), Pool: wire.NewPool(wire.NewBudget(64 << 20)), Log: zerolog.Nop()}
	if change != nil {
		change(&o)
	}
	if h.limit == 0 {
		h.limit = 100 << 20
	}
	s := New(h, o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if used := o.Pool.Budget().Used(); used != 0 {
			t.Errorf("%d bytes of the budget are left over", used)
		}
	})
	return s, ln.Addr().String()
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func write(t testing.TB, c net.Conn, frames ...[]byte) {
	t.Helper()
	if _, err := c.Write(bytes.Join(frames, nil)); err != nil {
		t.Fatal(err)
	}
}

// ended reports that the broker has closed the connection.
func ended(t testing.TB, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 64))
	if err == nil {
		t.Fatalf("the connection is open, and gave %d bytes", n)
	}
}

func TestAnswersComeInTheOrderOfTheRequests(t *testing.T) {
	h := &echo{later: make(chan *Request, 8)}
	_, addr := start(t, h, nil)
	c := dial(t, addr)
	write(t, c, frame(0, 1, "one"), frame(1, 2, ""), frame(0, 3, "three"), frame(1, 4, ""), frame(2, 5, ""), frame(0, 6, "six"))
	second, fourth := <-h.later, <-h.later
	if corr, body := readAnswer(t, c); corr != 1 || string(body) != "one" {
		t.Fatalf("%d %q", corr, body)
	}
	go fourth.Reply(&echoed{body: []byte("four")}, true)
	go second.Reply(&echoed{body: []byte("two")}, false)
	for _, want := range []string{"2 two", "3 three", "4 \x00four", "6 six"} {
		corr, body := readAnswer(t, c)
		if got := fmt.Sprintf("%d %s", corr, body); got != want {
			t.Fatalf("have %q, want %q", got, want)
		}
	}
}

func TestFramesOfAllSizesInPieces(t *testing.T) {
	h := &echo{}
	_, addr := start(t, h, nil)
	c := dial(t, addr)
	go func() {
		for i, n := range []int{0, 1, 100, 1011, 1012, 1013, 1016, 1017, 5000, 65_520, 65_528, 65_529, 300_000, 3 << 20} {
			f := frame(0, int32(i), strings.Repeat(string(rune('a'+i)), n))
			for len(f) > 0 { // cut in the header, behind it, and in the body
				piece := min(len(f), 3+len(f)/2)
				_, _ = c.Write(f[:piece])
				f = f[piece:]
			}
		}
	}()
	for i, n := range []int{0, 1, 100, 1011, 1012, 1013, 1016, 1017, 5000, 65_520, 65_528, 65_529, 300_000, 3 << 20} {
		corr, body := readAnswer(t, c)
		if int(corr) != i || len(body) != n || n > 0 && (body[0] != byte('a'+i) || body[n-1] != byte('a'+i)) {
			t.Fatalf("answer %d to request %d has %d bytes, want %d", corr, i, len(body), n)
		}
	}
}

func TestRecordsGoOutWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	content := make([]byte, 8<<20)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	h := &echo{slices: []*testSlice{
		{file: file, off: 10, n: 100},
		{file: file, off: 5000, n: smallRange + 1},
		{file: file, off: 1 << 20, n: 6 << 20},
		{file: file, off: 77, n: smallRange},
		{file: file, off: 99, n: 200_000, noFile: true},
	}}
	_, addr := start(t, h, nil)
	c := dial(t, addr)
	write(t, c, frame(5, 9, ""), frame(0, 10, "after"))
	corr, body := readAnswer(t, c)
	var want []byte
	for i, s := range h.slices {
		want = append(want, byte(i))
		want = append(want, content[s.off:s.off+int64(s.n)]...)
	}
	want = append(want, 0xEE)
	if corr != 9 || !bytes.Equal(body, want) {
		t.Fatalf("answer %d has %d bytes that differ from the %d wanted", corr, len(body), len(want))
	}
	if corr, body = readAnswer(t, c); corr != 10 || string(body) != "after" {
		t.Fatalf("%d %q", corr, body)
	}
	for i, s := range h.slices {
		if s.released.Load() != 1 {
			t.Errorf("slice %d was released %d times", i, s.released.Load())
		}
	}
}

func TestManySmallRangesTakeLittleMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	content := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	h := &echo{}
	var want []byte
	for i := range 2000 {
		s := &testSlice{file: file, off: int64(i), n: 1 + i*37%smallRange}
		h.slices = append(h.slices, s)
		want = append(want, byte(i))
		want = append(want, content[s.off:s.off+int64(s.n)]...)
	}
	s, addr := start(t, h, nil)
	c := dial(t, addr)
	write(t, c, frame(5, 1, ""))
	for s.pool.Budget().Used() == 0 {
		runtime.Gosched()
	}
	if used := s.pool.Budget().Used(); used > 256<<10 {
		t.Errorf("%d bytes are held for an answer of %d", used, len(want))
	}
	if _, body := readAnswer(t, c); !bytes.Equal(body, append(want, 0xEE)) {
		t.Errorf("%d bytes, which differ from the %d wanted", len(body), len(want))
	}
}

func TestRecordsThatCannotBeReadEndTheConnection(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "records"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	for _, s := range []*testSlice{
		{file: file, n: 100, fail: errors.New("disk")},
		{file: file, n: 1 << 20, fail: errors.New("disk"), noFile: true},
		{file: file, n: 1 << 20}, // the file is empty
	} {
		h := &echo{slices: []*testSlice{s}}
		_, addr := start(t, h, nil)
		c := dial(t, addr)
		write(t, c, frame(5, 1, ""))
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	}
}

func TestAPanicEndsOneConnection(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	h := &echo{}
	_, addr := start(t, h, func(o *Options) { o.Log = zerolog.New(&lockedWriter{&mu, &log}) })
	for _, key := range []int16{4, 7} {
		bystander, victim := dial(t, addr), dial(t, addr)
		write(t, victim, frame(key, 1, ""))
		ended(t, victim)
		write(t, bystander, frame(0, 2, "still here"))
		if _, body := readAnswer(t, bystander); string(body) != "still here" {
			t.Fatalf("%q", body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if text := log.String(); !strings.Contains(text, `"api":4`) || !strings.Contains(text, "the handler crashed") {
		t.Errorf("the log does not name the API and the cause: %s", text)
	}
}

// A request that is handled beside the reader keeps its place, and its client is heard.
func TestBesideTheReader(t *testing.T) {
	_, addr := start(t, &echo{later: make(chan *Request, 1)}, nil)
	c := dial(t, addr)
	write(t, c, frame(8, 1, "first"), frame(1, 2, ""), frame(0, 3, "last"))
	for i, want := range []string{"first", "later", "last"} {
		if corr, body := readAnswer(t, c); corr != int32(i+1) || string(body) != want {
			t.Errorf("%d %q, want %q", corr, body, want)
		}
	}
}

// What crashes after its client has gone leaves nothing behind.
func TestAPanicBesideTheReader(t *testing.T) {
	h := &echo{crashing: make(chan struct{})}
	s, addr := start(t, h, nil)
	c := dial(t, addr)
	write(t, c, frame(9, 1, ""))
	c.Close()
	await(t, "the client has gone", h.crashing)
	for deadline := time.Now().Add(patience); s.pool.Budget().Used() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the request is still kept")
		}
	}
}

func TestAbortWaitsForEarlierAnswers(t *testing.T) {
	h := &echo{later: make(chan *Request, 1)}
	_, addr := start(t, h, nil)
	c := dial(t, addr)
	write(t, c, frame(1, 1, ""), frame(3, 2, ""), frame(0, 3, "never answered"))
	(<-h.later).Reply(&echoed{body: []byte("first")}, false)
	if corr, body := readAnswer(t, c); corr != 1 || string(body) != "first" {
		t.Fatalf("%d %q", corr, body)
	}
	ended(t, c)
}

func TestStrangersAreRecognised(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	for hello, want := range map[string]string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03":     "TLS",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                "HTTP",
		"SSH-2.0-OpenSSH_9.6\r\n":                          "SSH",
		"\xff\xff\xff\xff\x00\x12\x00\x00\x00\x00\x00\x01": "impossible size",
		"\x7f\xff\xff\xff\x00\x12\x00\x00\x00\x00\x00\x01": "larger than allowed",
		"\x00\x00\x00\x07\x00\x12\x00\x00\x00\x00\x00":     "impossible size",
	} {
		_, addr := start(t, &echo{limit: 1 << 30}, func(o *Options) { o.Log = zerolog.New(&lockedWriter{&mu, &log}) })
		c := dial(t, addr)
		write(t, c, []byte(hello))
		ended(t, c)
		mu.Lock()
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q: the log does not say %q: %s", hello, want, log.String())
		}
		log.Reset()
		mu.Unlock()
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
