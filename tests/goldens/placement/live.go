package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// What is left to the library: a real API server stamps and refuses these.
//   - pods that are being deleted, or have ended: they are left out of the cluster, and the library decides again without them
//   - clusters with volumes: nobody binds here, and the server protects what is bound

const patience = 20 * time.Second

// control is etcd, an API server and the scheduler, each the real program, in a folder of their own.
type control struct {
	client    kubernetes.Interface
	folder    string
	bin       string
	processes []*exec.Cmd
}

// live lets the real kube-scheduler decide pods of generated clusters one by one and compares with the library's verdicts.
func live(bin string, first uint64, clusters int) error {
	folder, err := os.MkdirTemp("", "placement-")
	if err != nil {
		return err
	}
	c := &control{folder: folder, bin: bin}
	defer c.stop()
	if err := c.start(); err != nil {
		return err
	}
	compared, differ := 0, 0
	for seed := first; seed < first+uint64(clusters); seed++ {
		cluster := Draw(seed)
		if len(cluster.Claims) > 0 {
			continue
		}
		simplify(cluster)
		for i := range cluster.Pending {
			pod := cluster.Pending[i]
			if len(pod.Spec.SchedulingGates) > 0 {
				continue
			}
			alone := *cluster
			alone.Pending = cluster.Pending[i : i+1]
			verdicts, err := judge(&alone)
			if err != nil {
				return err
			}
			what, err := c.compare(&alone, verdicts[0])
			if err != nil {
				return fmt.Errorf("seed %d, %s: %w", seed, pod.Name, err)
			}
			compared++
			if what != "" {
				differ++
				fmt.Printf("seed %d, %s: %s\n", seed, pod.Name, what)
			}
		}
	}
	fmt.Printf("%d pods decided by kube-scheduler: %d otherwise than by the library\n", compared, differ)
	if differ > 0 {
		return fmt.Errorf("the library is not faithful")
	}
	return nil
}

func simplify(cluster *Cluster) {
	var pods []*v1.Pod
	for _, pod := range cluster.Pods {
		if pod.DeletionTimestamp == nil && pod.Status.Phase == v1.PodRunning {
			pods = append(pods, pod)
		}
	}
	cluster.Pods = pods
	for _, pod := range append(append([]*v1.Pod{}, pods...), cluster.Pending...) {
		forgetLabelKeys(pod)
		// Taken by the scheduler itself when it nominates; a client cannot foretell its effect on the queue.
		pod.Status.NominatedNodeName = ""
	}
}

// forgetLabelKeys: they are written out in the selectors already, and the server would do it again.
func forgetLabelKeys(pod *v1.Pod) {
	for i := range pod.Spec.TopologySpreadConstraints {
		pod.Spec.TopologySpreadConstraints[i].MatchLabelKeys = nil
	}
	forget := func(term *v1.PodAffinityTerm) { term.MatchLabelKeys, term.MismatchLabelKeys = nil, nil }
	both := func(required []v1.PodAffinityTerm, preferred []v1.WeightedPodAffinityTerm) {
		for i := range required {
			forget(&required[i])
		}
		for i := range preferred {
			forget(&preferred[i].PodAffinityTerm)
		}
	}
	if affinity := pod.Spec.Affinity; affinity != nil && affinity.PodAffinity != nil {
		both(affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if affinity := pod.Spec.Affinity; affinity != nil && affinity.PodAntiAffinity != nil {
		both(affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (c *control) start() error {
	etcd := filepath.Join(c.folder, "etcd")
	if err := c.run("etcd", "--data-dir", etcd, "--listen-client-urls", "http://127.0.0.1:23790", "--advertise-client-urls", "http://127.0.0.1:23790",
		"--listen-peer-urls", "http://127.0.0.1:23800", "--initial-advertise-peer-urls", "http://127.0.0.1:23800", "--initial-cluster", "default=http://127.0.0.1:23800", "--unsafe-no-fsync"); err != nil {
		return err
	}
	key := filepath.Join(c.folder, "sa.key")
	if out, err := exec.Command("openssl", "genrsa", "-out", key, "2048").CombinedOutput(); err != nil {
		return fmt.Errorf("openssl: %s", out)
	}
	tokens := filepath.Join(c.folder, "tokens.csv")
	must(os.WriteFile(tokens, []byte("secret,admin,1,system:masters\n"), 0o600))
	// Admission would fill in or refuse what the generated pods say: priorities, overhead, tolerations.
	if err := c.run("kube-apiserver", "--etcd-servers", "http://127.0.0.1:23790", "--secure-port", "26443", "--bind-address", "127.0.0.1", "--cert-dir", filepath.Join(c.folder, "certs"),
		"--token-auth-file", tokens, "--authorization-mode", "RBAC", "--service-account-key-file", key, "--service-account-signing-key-file", key,
		"--service-account-issuer", "https://placement.test", "--service-cluster-ip-range", "10.96.0.0/16", "--disable-admission-plugins",
		"ServiceAccount,TaintNodesByCondition,Priority,DefaultTolerationSeconds,RuntimeClass,StorageObjectInUseProtection,DefaultStorageClass,DefaultIngressClass,PodSecurity"); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "https://127.0.0.1:26443", BearerToken: "secret", TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 1000, Burst: 1000})
	if err != nil {
		return err
	}
	c.client = client
	if err := until(90*time.Second, func() bool {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(context.Background())
		return err == nil
	}); err != nil {
		return fmt.Errorf("kube-apiserver did not come, see %s: %w", c.folder, err)
	}
	config := filepath.Join(c.folder, "kubeconfig")
	must(os.WriteFile(config, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:26443","insecure-skip-tls-verify":true}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"users":[{"name":"u","user":{"token":"secret"}}]}`), 0o600))
	settings := filepath.Join(c.folder, "scheduler.json")
	must(os.WriteFile(settings, []byte(`{"apiVersion":"kubescheduler.config.k8s.io/v1","kind":"KubeSchedulerConfiguration","percentageOfNodesToScore":100,"leaderElection":{"leaderElect":false},"clientConnection":{"kubeconfig":"`+config+`","qps":1000,"burst":1000}}`), 0o600))
	return c.run("kube-scheduler", "--config", settings, "--secure-port", "26259", "--bind-address", "127.0.0.1", "--cert-dir", filepath.Join(c.folder, "scheduler-certs"))
}

func (c *control) run(name string, args ...string) error {
	log, err := os.Create(filepath.Join(c.folder, name+".log"))
	if err != nil {
		return err
	}
	command := exec.Command(filepath.Join(c.bin, name), args...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return err
	}
	c.processes = append(c.processes, command)
	return nil
}

func (c *control) stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		_ = c.processes[i].Process.Kill()
		_ = c.processes[i].Wait()
	}
	_ = os.RemoveAll(c.folder)
}

// compare makes the cluster, lets the scheduler see all of it, then makes the pod.
func (c *control) compare(cluster *Cluster, verdict *Verdict) (string, error) {
	ctx := context.Background()
	if err := c.make(ctx, cluster); err != nil {
		return "", err
	}
	defer c.clear(ctx, cluster)
	// The scheduler's informers tell nobody how far they are.
	time.Sleep(time.Second)
	pod := cluster.Pending[0].DeepCopy()
	pod.ResourceVersion, pod.UID = "", ""
	if _, err := c.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	var seen *v1.Pod
	err := until(patience, func() bool {
		var err error
		seen, err = c.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && (seen.Spec.NodeName != "" || refusedWith(seen) != "")
	})
	if err != nil {
		return "nobody decided it", nil
	}
	if seen.Spec.NodeName != "" {
		best := int64(-1)
		for _, score := range verdict.Fit {
			best = max(best, score)
		}
		if score, fits := verdict.Fit[seen.Spec.NodeName]; !fits || score != best {
			return fmt.Sprintf("bound to %s, the library says %v", seen.Spec.NodeName, verdict.Fit), nil
		}
		return "", nil
	}
	if refusedWith(seen) != verdict.Message {
		return fmt.Sprintf("refused with %q, the library says %q", refusedWith(seen), verdict.Message), nil
	}
	if _, known := verdict.Evict[seen.Status.NominatedNodeName]; known != (seen.Status.NominatedNodeName != "") || len(verdict.Evict) > 0 != known {
		return fmt.Sprintf("nominated %q, the library says %v", seen.Status.NominatedNodeName, verdict.Evict), nil
	}
	return "", nil
}

func refusedWith(pod *v1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == v1.PodScheduled && condition.Status == v1.ConditionFalse {
			return condition.Message
		}
	}
	return ""
}

func (c *control) make(ctx context.Context, cluster *Cluster) error {
	core := c.client.CoreV1()
	for _, namespace := range cluster.Namespaces {
		if _, err := core.Namespaces().Create(ctx, namespace.DeepCopy(), metav1.CreateOptions{}); err != nil {
			if _, err := core.Namespaces().Update(ctx, namespace.DeepCopy(), metav1.UpdateOptions{}); err != nil {
				return err
			}
		}
	}
	for _, node := range cluster.Nodes {
		made, err := core.Nodes().Create(ctx, node.DeepCopy(), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		made.Status = node.Status
		if _, err := core.Nodes().UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	for _, service := range cluster.Services {
		if _, err := core.Services(service.Namespace).Create(ctx, service.DeepCopy(), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for _, set := range cluster.Sets {
		if _, err := c.client.AppsV1().ReplicaSets(set.Namespace).Create(ctx, set.DeepCopy(), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for _, set := range cluster.Stateful {
		if _, err := c.client.AppsV1().StatefulSets(set.Namespace).Create(ctx, set.DeepCopy(), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for _, budget := range cluster.Budgets {
		made, err := c.client.PolicyV1().PodDisruptionBudgets(budget.Namespace).Create(ctx, budget.DeepCopy(), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		made.Status = budget.Status
		made.Status.ObservedGeneration = made.Generation
		if _, err := c.client.PolicyV1().PodDisruptionBudgets(budget.Namespace).UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	for _, pod := range cluster.Pods {
		fresh := pod.DeepCopy()
		fresh.UID = ""
		made, err := core.Pods(pod.Namespace).Create(ctx, fresh, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("%s: %w", pod.Name, err)
		}
		made.Status = pod.Status
		if _, err := core.Pods(pod.Namespace).UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func (c *control) clear(ctx context.Context, cluster *Cluster) {
	now := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
	all := metav1.ListOptions{}
	for _, namespace := range cluster.Namespaces {
		name := namespace.Name
		_ = c.client.CoreV1().Pods(name).DeleteCollection(ctx, now, all)
		_ = c.client.AppsV1().ReplicaSets(name).DeleteCollection(ctx, now, all)
		_ = c.client.AppsV1().StatefulSets(name).DeleteCollection(ctx, now, all)
		_ = c.client.PolicyV1().PodDisruptionBudgets(name).DeleteCollection(ctx, now, all)
	}
	for _, service := range cluster.Services {
		_ = c.client.CoreV1().Services(service.Namespace).Delete(ctx, service.Name, now)
	}
	_ = c.client.CoreV1().Nodes().DeleteCollection(ctx, now, all)
	_ = until(patience, func() bool {
		pods, err := c.client.CoreV1().Pods("").List(ctx, all)
		return err == nil && len(pods.Items) == 0
	})
}

func until(limit time.Duration, holds func() bool) error {
	return wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, limit, true, func(context.Context) (bool, error) { return holds(), nil })
}
