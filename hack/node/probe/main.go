// Probe is the one program that test nodes have beside those of Kubernetes and Debian: a node's first
// process, what holds a pod's namespaces, and what a test's pod does where our images would be too much.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	usage       = "probe pause | say WORDS | exit CODE | sleep SECONDS | hold MIB | dial HOST:PORT... | resolve NAME..."
	wrongUsage  = 2
	dialTimeout = 2 * time.Second
)

func main() {
	if len(os.Args) < 2 {
		fail(usage)
	}
	arguments := os.Args[2:]
	switch os.Args[1] {
	case "pause":
		pause()
	case "say":
		fmt.Println(strings.Join(arguments, " "))
	case "exit":
		os.Exit(number(arguments))
	case "sleep":
		time.Sleep(time.Duration(number(arguments)) * time.Second)
	case "hold":
		hold(number(arguments))
	case "dial":
		each(arguments, dial)
	case "resolve":
		each(arguments, resolve)
	default:
		fail(usage)
	}
}

// pause waits for a signal to end. As the first process of a namespace it must reap orphans.
func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 {
				break
			}
		}
	}
}

// hold takes so much memory, for good: a page counts once it is written.
func hold(mib int) {
	taken := make([]byte, mib<<20)
	for place := 0; place < len(taken); place += os.Getpagesize() {
		taken[place] = 1
	}
	fmt.Println("holding", mib, "MiB")
	pause()
	fmt.Println(taken[0])
}

func dial(address string) string {
	connection, err := net.DialTimeout("tcp", address, dialTimeout)
	if err != nil {
		return err.Error()
	}
	connection.Close()
	return "reachable"
}

func resolve(name string) string {
	addresses, err := net.LookupHost(name)
	if err != nil {
		return err.Error()
	}
	return strings.Join(addresses, " ")
}

func each(arguments []string, ask func(string) string) {
	for _, argument := range arguments {
		fmt.Println(argument, ask(argument))
	}
}

func number(arguments []string) int {
	if len(arguments) != 1 {
		fail(usage)
	}
	value, err := strconv.Atoi(arguments[0])
	if err != nil {
		fail(fmt.Sprintf("%q: a whole number is wanted", arguments[0]))
	}
	return value
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(wrongUsage)
}
