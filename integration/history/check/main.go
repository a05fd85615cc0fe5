// Command check judges histories (see package history): it names what
// contradicts what clients of a log may rely on, and exits with 1 if it finds
// anything. With -dump it prints the events instead.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"understudy/integration/history"
)

func main() {
	dump := flag.Bool("dump", false, "print what is written down, one event a line")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: check [-dump] FILE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	code := 0
	for _, name := range flag.Args() {
		one := judge
		if *dump {
			one = print
		}
		good, err := one(name)
		switch {
		case err != nil:
			fmt.Fprintf(os.Stderr, "check: %s: %v\n", name, err)
			code = 2
		case !good:
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func judge(name string) (good bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	v, err := history.Check(f)
	if err != nil {
		return false, err
	}
	fmt.Printf("%s: %s", name, v)
	for _, one := range v.Findings {
		fmt.Println(one)
	}
	return v.Good(), nil
}

func print(name string) (good bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	r, err := history.NewReader(f)
	if err != nil {
		return false, err
	}
	var e history.Event
	for err = r.Next(&e); err == nil; err = r.Next(&e) {
		fmt.Println(e)
	}
	if err == io.EOF {
		err = nil
	}
	return true, err
}
