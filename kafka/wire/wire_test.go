package wire

import (
	"errors"
	"sync"
	"testing"
)

func TestBudgetServesWaitersInOrder(t *testing.T) {
	b := NewBudget(100)
	if !b.Try(90) || b.Try(20) {
		t.Fatal("the limit is not kept")
	}
	var holders [2]Holder
	got := make(chan int, 2)
	for i := range holders {
		waiting := make(chan struct{})
		holders[i].BeforeWait = func() { close(waiting) }
		go func() {
			if err := b.Acquire(&holders[i], 60); err != nil {
				t.Error(err)
			}
			got <- i
			holders[i].Complete()
			b.Release(60)
		}()
		<-waiting
		for b.waiting.Load() != int32(i+1) {
		}
	}
	b.Release(90)
	if first, second := <-got, <-got; first != 0 || second != 1 {
		t.Errorf("served %d before %d", first, second)
	}
	if b.Used() != 0 {
		t.Errorf("%d bytes are left over", b.Used())
	}
}

func TestBudgetEvictsTheLargestUnfinishedWhenNothingElseHelps(t *testing.T) {
	b := NewBudget(100)
	evicted := make(chan int, 2)
	var small, large, other Holder
	small.Evict = func() { evicted <- 1 }
	large.Evict = func() { evicted <- 2; b.ReleaseHeld(&large, 60) }
	for _, h := range []*Holder{&small, &large, &other} {
		b.Register(h)
	}
	if b.Acquire(&small, 40) != nil || b.Acquire(&large, 60) != nil {
		t.Fatal("there was room")
	}
	if err := b.Acquire(&other, 30); err != nil {
		t.Fatal(err)
	}
	if who := <-evicted; who != 2 || len(evicted) > 0 {
		t.Errorf("evicted %d", who)
	}
}

func TestBudgetEvictsTheWaiterIfItHoldsTheMost(t *testing.T) {
	b := NewBudget(100)
	var h Holder
	h.Evict = func() {}
	b.Register(&h)
	if err := b.Acquire(&h, 80); err != nil {
		t.Fatal(err)
	}
	if err := b.Acquire(&h, 30); !errors.Is(err, ErrEvicted) {
		t.Fatalf("have %v", err)
	}
	if err := b.Acquire(&h, 101); !errors.Is(err, ErrOverBudget) {
		t.Fatalf("have %v", err)
	}
}

func TestBudgetWaitsWhileFinishedRequestsHoldMemory(t *testing.T) {
	b := NewBudget(100)
	var done, next Holder
	done.Evict = func() { t.Error("a finished request was evicted") }
	waiting := make(chan struct{})
	next.BeforeWait = func() { close(waiting) }
	b.Register(&done)
	b.Register(&next)
	if err := b.Acquire(&done, 80); err != nil {
		t.Fatal(err)
	}
	done.Complete()
	result := make(chan error, 1)
	go func() { result <- b.Acquire(&next, 50) }()
	<-waiting
	b.Release(80)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestUnregisterFailsTheWaiter(t *testing.T) {
	b := NewBudget(100)
	b.Force(100)
	var h Holder
	waiting := make(chan struct{})
	h.BeforeWait = func() { close(waiting) }
	b.Register(&h)
	result := make(chan error, 1)
	go func() { result <- b.Acquire(&h, 10) }()
	<-waiting
	b.Unregister(&h)
	if err := <-result; !errors.Is(err, ErrEvicted) {
		t.Fatalf("have %v", err)
	}
}

func TestBuffersComeBackOnlyWhenNobodyUsesThem(t *testing.T) {
	budget := NewBudget(1 << 20)
	pool := NewPool(budget)
	b := pool.Force(3000)
	if cap(b.B) != 4096 || budget.Used() != 4096 {
		t.Fatalf("capacity %d, used %d", cap(b.B), budget.Used())
	}
	b.Retain()
	b.Release()
	if budget.Used() != 4096 {
		t.Fatal("released while in use")
	}
	b.Release()
	if budget.Used() != 0 {
		t.Fatal("not released")
	}
	defer func() {
		if recover() == nil {
			t.Error("a third release went unnoticed")
		}
	}()
	b.refs.Store(0)
	b.Release()
}

func TestGrowKeepsContentsAndCharge(t *testing.T) {
	budget := NewBudget(1 << 20)
	pool := NewPool(budget)
	var h Holder
	b, err := pool.Acquire(&h, 1000)
	if err != nil {
		t.Fatal(err)
	}
	b.B = append(b.B, "hello"...)
	if b, err = b.Grow(&h, 5000); err != nil {
		t.Fatal(err)
	}
	if string(b.B) != "hello" || cap(b.B) != 8192 || budget.Used() != 8192 || h.Held() != 8192 {
		t.Fatalf("%q, capacity %d, used %d, held %d", b.B, cap(b.B), budget.Used(), h.Held())
	}
	h.Complete()
	b.Release()
	if budget.Used() != 0 || h.Held() != 0 {
		t.Fatalf("used %d, held %d", budget.Used(), h.Held())
	}
}

func TestSizeClasses(t *testing.T) {
	for n, want := range map[int]int{0: 1024, 1: 1024, 1024: 1024, 1025: 2048, 1 << 20: 1 << 20, 1<<20 + 1: 2 << 20, 16 << 20: 16 << 20, 16<<20 + 1: 16<<20 + 1} {
		if got := ClassSize(n); got != want {
			t.Errorf("%d bytes: capacity %d, want %d", n, got, want)
		}
	}
}

func TestBudgetUnderContention(t *testing.T) {
	pool := NewPool(NewBudget(64 << 10))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			var h Holder
			for range 500 {
				b, err := pool.Acquire(&h, 8<<10)
				if err != nil {
					t.Error(err)
					return
				}
				h.Complete()
				b.Release()
			}
		})
	}
	wg.Wait()
	if used := pool.Budget().Used(); used != 0 {
		t.Errorf("%d bytes are left over", used)
	}
}

func TestReaderRefusesCountsThatCannotFit(t *testing.T) {
	r := NewReader([]byte{0, 0, 0, 3, 1, 2, 3, 4}, false)
	if n := r.Array(4); n != -1 || r.Err() == nil {
		t.Errorf("%d elements of 4 bytes in 4 bytes", n)
	}
	r = NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, true)
	r.Tags(nil)
	if r.Err() == nil {
		t.Error("2^32-1 tags in no bytes")
	}
	r = NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0x1f}, true)
	if r.Uvarint(); r.Err() == nil {
		t.Error("33 bits were read as 32")
	}
}

func TestShapeText(t *testing.T) {
	for _, bad := range []string{"int33", "[int32", "{int32", "int32 ]", "[int32 int32]", "x+:int32", "?", "string!"} {
		if _, err := ParseShape(-1, bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestShapeScan(t *testing.T) {
	s := MustShape(2, `[{string 1+:int32}] #0:2+:{int8} ?{int16}`)
	for _, c := range []struct {
		version int16
		body    string
		ok      bool
	}{
		{0, "\x00\x00\x00\x01\x00\x01a\xff", true},
		{0, "\x00\x00\x00\x01\x00\x01a\x01\x00\x07", true},
		{0, "\x00\x00\x00\x01\x00\x01a\xff\x00", false}, // a byte too many
		{0, "\x00\x00\x00\x02\x00\x01a\xff", false},     // an element too few
		{0, "\x7f\xff\xff\xff\x00\x01a\xff", false},     // a count that lies
		{0, "\x00\x00\x00\x01\x7f\xffa\xff", false},     // a length that lies
		{0, "\x00\x00\x00\x01\xff\xffa\xff", false},     // null where it may not be
		{1, "\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x05\xff", true},
		{2, "\x02\x02a\x00\x00\x00\x05\x00\xff\x00", true},
		{2, "\x02\x02a\x00\x00\x00\x05\x00\xff\x01\x00\x02\x07\x00", true},
		{2, "\x02\x02a\x00\x00\x00\x05\x00\xff\x01\x00\x06\x07\xff\xff\xff\xff\x0f", false}, // tags within a tag
		{2, "\x02\x02a\x00\x00\x00\x05\xff\xff\xff\xff\x0f\xff\x00", false},
	} {
		if err := s.Scan(c.version, []byte(c.body)); (err == nil) != c.ok {
			t.Errorf("version %d, %q: %v", c.version, c.body, err)
		}
	}
}
