package browser

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	patience = 5 * time.Minute // before the test gives up; it does not pass by waiting for it
	// pictureEnv names a file that a picture of the page goes to.
	pictureEnv = "STOREFRONT_PICTURE"
)

// start builds the storefront, runs it, and gives the page's address.
func start(t *testing.T, args ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "storefront")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, append(args, "--listen", "127.0.0.1:0", "--rate", "30")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the storefront did not end in order: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	_, address, found := strings.Cut(strings.TrimSpace(line), "open ")
	if err != nil || !found {
		t.Fatalf("it printed %q, %v", line, err)
	}
	return address
}

// open opens a browser.
func open(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1240, 1130),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-networking", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // starts it
		t.Fatal(err)
	}
	return ctx
}

// page is the page in a browser.
type page struct {
	*testing.T
	ctx context.Context
}

// do carries out an action, and gives its value.
func do[T any](p page, what string, action chromedp.Action[T]) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		p.Fatalf("%s: %v", what, err)
	}
	return value
}

// until waits until an expression of JavaScript is true.
func (p page) until(what, expression string) {
	p.Helper()
	do(p, what, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(0), chromedp.WithPollingInterval(50*time.Millisecond)))
	p.Log(what)
}

func (p page) click(selector string) {
	p.Helper()
	do(p, "click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// setRate sets the generator.
func (p page) setRate(n int) {
	p.Helper()
	do(p, "set the rate", chromedp.Evaluate[int](fmt.Sprintf(`(() => { const r = document.querySelector("#rate"); r.value = %d; r.onchange(); return 1 })()`, n)))
	p.until(fmt.Sprintf("the generator is at %d", n), fmt.Sprintf(`document.querySelector("#rate-now").textContent === "%d / s"`, n))
}

// order places an order for a card by the form.
func (p page) order(card string) {
	p.Helper()
	do(p, "fill in the form", chromedp.SetValue(chromedp.CSS(`#order input[name=card]`), card))
	p.click(`#order button.primary`)
}

func said(list, text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#%s li")].some((l) => l.textContent.includes(%q))`, list, text)
}

// arrives has an order placed, and waits until the customer hears of it.
func (p page) arrives(card string) {
	p.Helper()
	p.order(card)
	p.until("the order of "+card+" is on its way", fmt.Sprintf(
		`[...document.querySelectorAll("#samples li")].some((l) => l.textContent.includes(%q) && l.textContent.includes("on its way"))`, card+" "))
}

func TestThePage(t *testing.T) {
	p := page{t, nil}
	address := start(t)
	p.ctx = open(t)
	do(p, "open the page", chromedp.Navigate(address))
	p.until("three brokers are up", `document.querySelectorAll(".broker:not(.down) button.kill").length === 3`)
	p.until("orders flow", `parseInt(document.querySelector("#topic-shipments span").textContent) > 20`)
	p.until("it is known how long that takes", `document.querySelector("#median").textContent.endsWith("s")`)

	p.setRate(0) // so that each event is shown
	p.until("the groups are stable", `document.querySelectorAll(".service.rebalancing").length === 0`)
	p.arrives("card-first")

	p.click("#broker-2 button")
	p.until("broker 2 is down", `document.querySelector("#broker-2").classList.contains("down")`)
	p.until("others lead all that it led", `document.querySelectorAll(".tile").length > 20 && [...document.querySelectorAll(".tile")].every((t) => /led by broker [13],/.test(t.title))`)
	p.until("that was said", said("lines", "broker 2 is killed"))
	p.arrives("card-without-2")

	p.click("#broker-2 button")
	p.until("broker 2 is up", `!document.querySelector("#broker-2").classList.contains("down")`)
	p.until("all replicas are in sync", `document.querySelectorAll(".tile i:not(.in)").length === 0`)
	p.arrives("card-with-2")

	p.click("#more-partitions")
	p.until("there is one more partition", `document.querySelectorAll("#tiles-orders .tile").length === 7`)
	p.click("#service-payment .more")
	p.until("payment has two workers", `document.querySelector("#service-payment .count").textContent === "2 workers"`)
	p.until("it is stable", `document.querySelector("#service-payment").title.includes("Stable, 2 members")`)
	p.arrives("card-with-more")
	p.click("#service-payment .fewer")
	p.until("payment has one worker", `document.querySelector("#service-payment .count").textContent === "1 worker"`)

	p.click("#poison")
	p.until("poison is among the dead letters", said("lines", "went to orders.dead after 3 attempts"))
	p.arrives("card-last")
	p.picture()
}

// TestAClusterElsewhere looks at a storefront that uses the brokers of another.
func TestAClusterElsewhere(t *testing.T) {
	p := page{t, nil}
	first := start(t)
	p.ctx = open(t)
	do(p, "open the first one's page", chromedp.Navigate(first))
	p.until("its brokers are up", `document.querySelectorAll(".broker:not(.down)").length === 3 && document.querySelector("#elsewhere").hidden`)
	broker := do(p, "ask where they are", chromedp.Evaluate[string](`document.querySelector("#broker-1 small").textContent.split(" ")[0]`))
	do(p, "open the other's page", chromedp.Navigate(start(t, "--brokers", broker)))
	p.until("three brokers are up", `document.querySelectorAll(".broker:not(.down)").length === 3`)
	p.until("it says that they run elsewhere", `!document.querySelector("#elsewhere").hidden && document.querySelector("#killable").hidden`)
	if n := do(p, "look for buttons", chromedp.Evaluate[int](`document.querySelectorAll(".broker button").length`)); n != 0 {
		t.Errorf("%d buttons to kill brokers", n)
	}
	p.until("orders flow", `parseInt(document.querySelector("#topic-shipments span").textContent) > 20`)
}

// picture takes a picture, if one is wanted: with much going on, and a broker down.
func (p page) picture() {
	file := os.Getenv(pictureEnv)
	if file == "" {
		return
	}
	p.setRate(120)
	p.until("much flows", `parseInt(document.querySelector("#per-second").textContent) > 90`)
	p.click("#broker-3 button")
	p.until("broker 3 is down", `document.querySelector("#broker-3").classList.contains("down")`)
	p.until("others lead", `[...document.querySelectorAll(".tile")].every((t) => /led by broker [12],/.test(t.title))`)
	p.until("work is caught up", `document.querySelectorAll(".lag.behind, .service.rebalancing").length === 0 && parseFloat(document.querySelector("#median").textContent) < 100`)
	png := do(p, "take the picture", chromedp.CaptureScreenshot())
	if err := os.WriteFile(file, png, 0o644); err != nil {
		p.Fatal(err)
	}
}
