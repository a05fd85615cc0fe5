package fake

import "context"

type brokenKey struct{}

// withBroken remembers which connections a request is one of.
func withBroken(ctx context.Context, broken <-chan struct{}) context.Context {
	return context.WithValue(ctx, brokenKey{}, broken)
}

func brokenOf(ctx context.Context) <-chan struct{} {
	broken, _ := ctx.Value(brokenKey{}).(<-chan struct{})
	return broken
}
