package main

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

const pod = "clients"

func exec(s *session) error {
	return s.exec(func(request *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(s.config, "POST", request)
	})
}

// As kubectl does it: WebSocket in its fifth version, which a runtime may not speak, and SPDY where it does not.
func execFallback(s *session) error {
	return s.exec(func(request *url.URL) (remotecommand.Executor, error) {
		socket, err := remotecommand.NewWebSocketExecutor(s.config, "GET", request.String())
		if err != nil {
			return nil, err
		}
		spdy, err := remotecommand.NewSPDYExecutor(s.config, "POST", request)
		if err != nil {
			return nil, err
		}
		return remotecommand.NewFallbackExecutor(socket, spdy, httpstream.IsUpgradeFailure)
	})
}

func (s *session) exec(dial func(*url.URL) (remotecommand.Executor, error)) error {
	run := func(input string, command ...string) (string, string, error) {
		options := &corev1.PodExecOptions{Command: command, Stdin: input != "", Stdout: true, Stderr: true}
		request := s.kube.CoreV1().RESTClient().Post().Namespace(s.namespace).Resource("pods").Name(pod).SubResource("exec")
		executor, err := dial(request.VersionedParams(options, scheme.ParameterCodec).URL())
		if err != nil {
			return "", "", err
		}
		var out, failed bytes.Buffer
		streams := remotecommand.StreamOptions{Stdout: &out, Stderr: &failed}
		if input != "" {
			streams.Stdin = strings.NewReader(input)
		}
		err = executor.StreamWithContext(s.ctx, streams)
		return out.String(), failed.String(), err
	}
	out, failed, err := run("", "sh", "-c", "echo out; echo err >&2")
	if err := first(err, equal("standard output", out, "out\n"), equal("standard error", failed, "err\n")); err != nil {
		return err
	}
	if out, _, err = run("several\nlines\n", "cat"); err != nil || out != "several\nlines\n" {
		return fmt.Errorf("standard input came back as %q: %v", out, err)
	}
	_, _, err = run("", "sh", "-c", "exit 7")
	if exit, ok := err.(utilexec.ExitError); !ok || exit.ExitStatus() != 7 {
		return fmt.Errorf("exit 7 was told as %v", err)
	}
	return nil
}
