package main

import (
	"context"
	"fmt"
	"sort"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	"k8s.io/utils/ptr"
)

// Verdict is what upstream's default profile says of one pod: which nodes fit, how they rank, why the others do not, and whom it would evict.
type Verdict struct {
	// Fit maps each feasible node to its weighted total. With a single one upstream does not score: 0.
	Fit map[string]int64 `json:"fit,omitempty"`
	// Scores are each criterion's weighted scores, in the order of Criteria.
	Scores map[string][]int64 `json:"scores,omitempty"`
	// Refused maps each other node to its reasons. Empty when the pod was refused before any node was looked at.
	Refused map[string][]string `json:"refused,omitempty"`
	// Message is the PodScheduled condition's, when no node fits.
	Message string `json:"message,omitempty"`
	// Evict maps each node that upstream might nominate (equally good ones differ by chance) to its victims.
	Evict map[string][]string `json:"evict,omitempty"`
	// Gated pods are not tried.
	Gated bool `json:"gated,omitempty"`
}

// Criteria names the scores in the order in which Verdict.Scores has them.
var Criteria = []string{"TaintToleration", "NodeAffinity", "PodTopologySpread", "InterPodAffinity", "NodeResourcesFit", "NodeResourcesBalancedAllocation", "ImageLocality"}

// Oracle is upstream's scheduler with its caches filled from one cluster. Nothing that it decides is carried out.
type Oracle struct {
	ctx      context.Context
	sched    *scheduler.Scheduler
	profile  framework.Framework
	snapshot *internalcache.Snapshot
	stop     context.CancelFunc
}

// NewOracle feeds the objects through informers, as they would come from an API server.
func NewOracle(objects []runtime.Object) (*Oracle, error) {
	ctx, stop := context.WithCancel(klog.NewContext(context.Background(), klog.Background()))
	client := fake.NewSimpleClientset(objects...)
	for _, verb := range []string{"delete", "patch", "update"} {
		client.PrependReactor(verb, "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, &v1.Pod{}, nil })
	}
	factory := scheduler.NewInformerFactory(client, 0)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	recorder := profile.NewRecorderFactory(broadcaster)
	sched, err := scheduler.New(ctx, client, factory, nil, recorder, scheduler.WithPercentageOfNodesToScore(ptr.To[int32](100)))
	if err != nil {
		stop()
		return nil, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if err := sched.WaitForHandlersSync(ctx); err != nil {
		stop()
		return nil, err
	}
	chosen := sched.Profiles["default-scheduler"]
	snapshot := chosen.SnapshotSharedLister().(*internalcache.Snapshot)
	if err := sched.Cache.UpdateSnapshot(klog.Background(), snapshot); err != nil {
		stop()
		return nil, err
	}
	return &Oracle{ctx, sched, chosen, snapshot, stop}, nil
}

func (o *Oracle) Close() { o.stop() }

// Ask decides one pending pod and checks that upstream's own SchedulePod agrees.
func (o *Oracle) Ask(pod *v1.Pod) (*Verdict, error) {
	if len(pod.Spec.SchedulingGates) > 0 {
		return &Verdict{Gated: true}, nil
	}
	info, err := framework.NewPodInfo(pod)
	if err != nil {
		return nil, err
	}
	queued := &framework.QueuedPodInfo{PodInfo: info}
	state := framework.NewCycleState()
	result, err := o.sched.SchedulePod(o.ctx, o.profile, state, queued)
	if fit, ok := err.(*framework.FitError); ok {
		return o.refusal(pod, state, fit)
	}
	if err == scheduler.ErrNoNodesAvailable {
		return &Verdict{Message: err.Error()}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pod.Name, err)
	}
	return o.ranking(pod, result)
}

// ranking runs filters and scores again, for what SchedulePod does not tell.
func (o *Oracle) ranking(pod *v1.Pod, result scheduler.ScheduleResult) (*Verdict, error) {
	state := framework.NewCycleState()
	pre, status, _ := o.profile.RunPreFilterPlugins(o.ctx, state, pod)
	if !status.IsSuccess() {
		return nil, status.AsError()
	}
	nodes, err := o.snapshot.List()
	if err != nil {
		return nil, err
	}
	verdict := &Verdict{Fit: map[string]int64{}, Scores: map[string][]int64{}, Refused: map[string][]string{}}
	var feasible []fwk.NodeInfo
	nominated := pod.Status.NominatedNodeName
	if nominated != "" {
		if node, err := o.snapshot.Get(nominated); err == nil && o.profile.RunFilterPluginsWithNominatedPods(o.ctx, state, pod, node).IsSuccess() {
			nodes = []fwk.NodeInfo{node}
		}
	}
	for _, node := range nodes {
		name := node.Node().Name
		if !pre.AllNodes() && !pre.NodeNames.Has(name) {
			continue
		}
		if status := o.profile.RunFilterPluginsWithNominatedPods(o.ctx, state, pod, node); status.IsSuccess() {
			feasible = append(feasible, node)
		} else {
			verdict.Refused[name] = status.Reasons()
		}
	}
	if len(feasible) == 1 {
		verdict.Fit[feasible[0].Node().Name] = 0
	} else if err := o.score(state, pod, feasible, verdict); err != nil {
		return nil, err
	}
	return verdict, agree(result, verdict)
}

func (o *Oracle) score(state fwk.CycleState, pod *v1.Pod, feasible []fwk.NodeInfo, verdict *Verdict) error {
	if status := o.profile.RunPreScorePlugins(o.ctx, state, pod, feasible); !status.IsSuccess() {
		return status.AsError()
	}
	scored, status := o.profile.RunScorePlugins(o.ctx, state, pod, feasible)
	if !status.IsSuccess() {
		return status.AsError()
	}
	for _, node := range scored {
		verdict.Fit[node.Name] = node.TotalScore
		byName := map[string]int64{}
		for _, score := range node.Scores {
			byName[score.Name] = score.Score
		}
		for _, name := range Criteria {
			verdict.Scores[node.Name] = append(verdict.Scores[node.Name], byName[name])
			delete(byName, name)
		}
		for name, score := range byName {
			if score != 0 {
				return fmt.Errorf("%s gives %s %d, and nobody writes it down", name, node.Name, score)
			}
		}
	}
	return nil
}

// agree compares with what SchedulePod said.
func agree(result scheduler.ScheduleResult, verdict *Verdict) error {
	best := int64(0)
	for _, score := range verdict.Fit {
		best = max(best, score)
	}
	score, fits := verdict.Fit[result.SuggestedHost]
	if !fits || score != best || result.FeasibleNodes != len(verdict.Fit) {
		return fmt.Errorf("SchedulePod chose %s of %d, the framework found %v", result.SuggestedHost, result.FeasibleNodes, verdict.Fit)
	}
	return nil
}

func (o *Oracle) refusal(pod *v1.Pod, state fwk.CycleState, fit *framework.FitError) (*Verdict, error) {
	verdict := &Verdict{Refused: map[string][]string{}}
	fit.Diagnosis.NodeToStatus.ForEachExplicitNode(func(name string, status *fwk.Status) { verdict.Refused[name] = status.Reasons() })
	pl, err := defaultpreemption.New(o.ctx, &schedulerapi.DefaultPreemptionArgs{MinCandidateNodesPercentage: 10, MinCandidateNodesAbsolute: 100},
		o.profile.(fwk.Handle), feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate))
	if err != nil {
		return nil, err
	}
	post, status := o.profile.RunPostFilterPlugins(o.ctx, state, pod, fit.Diagnosis.NodeToStatus)
	fit.Diagnosis.PostFilterMsg = status.Message()
	verdict.Message = fit.Error()
	if post != nil && post.NominatingInfo != nil && post.NominatedNodeName != "" {
		if verdict.Evict, err = o.victims(pl, pod, state, fit, post.NominatedNodeName); err != nil {
			return nil, err
		}
	}
	return verdict, nil
}

// victims are those of the chosen node and of each that is as good to upstream.
func (o *Oracle) victims(pl *defaultpreemption.DefaultPreemption, pod *v1.Pod, state fwk.CycleState, fit *framework.FitError, chosen string) (map[string][]string, error) {
	potential, err := fit.Diagnosis.NodeToStatus.NodesForStatusCode(o.snapshot, fwk.Unschedulable)
	if err != nil {
		return nil, err
	}
	budgets, err := o.informers().Policy().V1().PodDisruptionBudgets().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	candidates, _, err := pl.Evaluator.DryRunPreemption(o.ctx, state, pod, potential, budgets, 0, int32(len(potential)+1))
	if err != nil {
		return nil, err
	}
	byNode := map[string]preemption.Candidate{}
	for _, candidate := range candidates {
		byNode[candidate.Name()] = candidate
	}
	best, known := byNode[chosen]
	if !known {
		return nil, fmt.Errorf("%s was nominated and is no candidate", chosen)
	}
	evict := map[string][]string{}
	for name, candidate := range byNode {
		// The order of equals is a map's: in so many rounds each of two comes first at least once.
		for range 24 {
			if pl.Evaluator.SelectCandidate(o.ctx, []preemption.Candidate{best, candidate}).Name() == name {
				evict[name] = podNames(candidate.Victims().Pods)
				break
			}
		}
	}
	return evict, nil
}

func (o *Oracle) informers() informers.SharedInformerFactory {
	return o.profile.SharedInformerFactory()
}

func podNames(pods []*v1.Pod) []string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Namespace+"/"+pod.Name)
	}
	sort.Strings(names)
	return names
}
