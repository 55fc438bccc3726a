// Command client drives client-go and controller-runtime as an operator's author does: see ../../README.md for the steps and how a program
// talks with the test that runs it.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How long any one thing may take.
const patience = 60 * time.Second

type session struct {
	ctx       context.Context
	config    *rest.Config
	kube      kubernetes.Interface
	dynamic   dynamic.Interface
	namespace string
	told      *bufio.Reader
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(err)
	kube, err := kubernetes.NewForConfig(config)
	must(err)
	dyn, err := dynamic.NewForConfig(config)
	must(err)
	s := &session{ctx: ctx, config: config, kube: kube, dynamic: dyn, namespace: os.Args[1], told: bufio.NewReader(os.Stdin)}
	steps := map[string]func(*session) error{
		"paged-list":          pagedList,
		"expired-continue":    expiredContinue,
		"patch-json":          patchJSON,
		"patch-merge":         patchMerge,
		"patch-strategic":     patchStrategic,
		"patch-apply":         patchApply,
		"apply-conflict":      applyConflict,
		"update-conflict":     updateConflict,
		"watch-over-restart":  watchOverRestart,
		"operator":            operator,
		"operator-on-restart": operatorOverRestart,
		"exec":                exec,
		"exec-fallback":       execFallback,
	}
	for _, name := range os.Args[2:] {
		if err := steps[name](s); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		fmt.Println("done", name)
	}
}

// restart asks the test to kill the server and start it again at its address, and returns when that is done.
func (s *session) restart() {
	fmt.Println("restart")
	_, err := s.told.ReadString('\n')
	must(err)
}

// eventually waits until look is content.
func (s *session) eventually(what string, look func() (bool, error)) error {
	end := time.Now().Add(patience)
	for {
		done, err := look()
		if done && err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s; last seen: %v", what, patience, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func equal[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: %v, wanted %v", what, got, want)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
