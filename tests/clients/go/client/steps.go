package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

func (s *session) configMap(name string, data map[string]string, labels map[string]string) (*corev1.ConfigMap, error) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: data}
	return s.kube.CoreV1().ConfigMaps(s.namespace).Create(s.ctx, object, metav1.CreateOptions{})
}

func pagedList(s *session) error {
	for n := range 25 {
		if _, err := s.configMap(fmt.Sprintf("page-%02d", n), nil, map[string]string{"step": "page"}); err != nil {
			return err
		}
	}
	maps := s.kube.CoreV1().ConfigMaps(s.namespace)
	page, err := maps.List(s.ctx, metav1.ListOptions{LabelSelector: "step=page", Limit: 10})
	if err != nil {
		return err
	}
	if err := equal("the first page", len(page.Items), 10); err != nil {
		return err
	}
	all, pages := page.Items, 1
	for ; page.Continue != ""; pages++ {
		token := page.Continue
		if page, err = maps.List(s.ctx, metav1.ListOptions{LabelSelector: "step=page", Limit: 10, Continue: token}); err != nil {
			return err
		}
		all = append(all, page.Items...)
	}
	var names []string
	for _, item := range all {
		names = append(names, item.Name)
	}
	return first(equal("pages", pages, 3), equal("items", len(names), 25), equal("in order", slices.IsSorted(names), true))
}

// An old page token is a 410 that carries a newer token, and client-go's pager falls back to a full list.
func expiredContinue(s *session) error {
	maps := s.kube.CoreV1().ConfigMaps(s.namespace)
	page, err := maps.List(s.ctx, metav1.ListOptions{Limit: 5})
	if err != nil {
		return err
	}
	if _, err := s.configMap("written-after-the-page", nil, nil); err != nil {
		return err
	}
	s.restart()
	_, err = maps.List(s.ctx, metav1.ListOptions{Limit: 5, Continue: page.Continue})
	if !errors.IsResourceExpired(err) {
		return fmt.Errorf("an old token: %v, wanted Expired", err)
	}
	status := err.(errors.APIStatus).Status()
	if err := equal("the code", status.Code, 410); err != nil {
		return err
	}
	rest, err := maps.List(s.ctx, metav1.ListOptions{Limit: 500, Continue: status.ListMeta.Continue})
	if err != nil {
		return fmt.Errorf("the token of the refusal: %w", err)
	}
	if len(rest.Items) < 20 {
		return fmt.Errorf("the token of the refusal gave %d objects", len(rest.Items))
	}
	old := page.Continue
	once := false
	walk := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		if options.Continue != "" && !once {
			once, options.Continue = true, old
		}
		return maps.List(s.ctx, options)
	}))
	walk.PageSize = 5
	list, _, err := walk.List(s.ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("pager: %w", err)
	}
	whole, err := maps.List(s.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return equal("what the pager listed", len(list.(*corev1.ConfigMapList).Items), len(whole.Items))
}

func (s *session) deployment(name string) error {
	labels := map[string]string{"app": name}
	container := func(name string) *coreac.ContainerApplyConfiguration {
		return coreac.Container().WithName(name).WithImage(name + ":1")
	}
	template := coreac.PodTemplateSpec().WithLabels(labels).WithSpec(coreac.PodSpec().WithContainers(container("a"), container("b")))
	spec := appsac.DeploymentSpec().WithReplicas(2).WithSelector(metaac.LabelSelector().WithMatchLabels(labels)).WithTemplate(template)
	object := appsac.Deployment(name, s.namespace).WithAnnotations(map[string]string{"keep": "1", "drop": "1"}).WithSpec(spec)
	_, err := s.kube.AppsV1().Deployments(s.namespace).Apply(s.ctx, object, metav1.ApplyOptions{FieldManager: "tests"})
	return err
}

func patchJSON(s *session) error {
	if err := s.deployment("json"); err != nil {
		return err
	}
	api := s.kube.AppsV1().Deployments(s.namespace)
	seen, err := api.Patch(s.ctx, "json", types.JSONPatchType, []byte(`[{"op":"test","path":"/spec/replicas","value":2},{"op":"replace","path":"/spec/replicas","value":3}]`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	_, err = api.Patch(s.ctx, "json", types.JSONPatchType, []byte(`[{"op":"test","path":"/spec/replicas","value":2}]`), metav1.PatchOptions{})
	return first(equal("replicas", *seen.Spec.Replicas, 3), equal("a failed test is Invalid", errors.IsInvalid(err), true))
}

func patchMerge(s *session) error {
	if err := s.deployment("merge"); err != nil {
		return err
	}
	seen, err := s.kube.AppsV1().Deployments(s.namespace).Patch(s.ctx, "merge", types.MergePatchType, []byte(`{"metadata":{"annotations":{"drop":null,"new":"1"}}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	keys := slices.Sorted(maps.Keys(seen.Annotations))
	return equal("annotations", strings.Join(keys, " "), "keep new")
}

func patchStrategic(s *session) error {
	if err := s.deployment("strategic"); err != nil {
		return err
	}
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"a:2"},{"name":"b","$patch":"delete"},{"name":"c","image":"c:1"}]}}}}`
	seen, err := s.kube.AppsV1().Deployments(s.namespace).Patch(s.ctx, "strategic", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	var images []string
	for _, c := range seen.Spec.Template.Spec.Containers {
		images = append(images, c.Image)
	}
	slices.Sort(images)
	return equal("images", strings.Join(images, " "), "a:2 c:1")
}

func patchApply(s *session) error {
	if err := s.deployment("apply"); err != nil {
		return err
	}
	// Applied without a container: it goes, for nobody else owns it.
	labels := map[string]string{"app": "apply"}
	only := coreac.PodSpec().WithContainers(coreac.Container().WithName("a").WithImage("a:2"))
	spec := appsac.DeploymentSpec().WithSelector(metaac.LabelSelector().WithMatchLabels(labels)).WithTemplate(coreac.PodTemplateSpec().WithLabels(labels).WithSpec(only))
	seen, err := s.kube.AppsV1().Deployments(s.namespace).Apply(s.ctx, appsac.Deployment("apply", s.namespace).WithSpec(spec), metav1.ApplyOptions{FieldManager: "tests"})
	if err != nil {
		return err
	}
	mine, err := appsac.ExtractDeployment(seen, "tests")
	if err != nil {
		return err
	}
	return first(equal("containers", len(seen.Spec.Template.Spec.Containers), 1), equal("replicas are defaulted again", *seen.Spec.Replicas, 1),
		equal("annotations", len(seen.Annotations), 0), equal("extracted", *mine.Spec.Template.Spec.Containers[0].Image, "a:2"))
}

func applyConflict(s *session) error {
	api := s.kube.CoreV1().ConfigMaps(s.namespace)
	apply := func(manager, value string, force bool) (*corev1.ConfigMap, error) {
		object := coreac.ConfigMap("contested", s.namespace).WithData(map[string]string{"x": value, manager: "mine"})
		return api.Apply(s.ctx, object, metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	if _, err := apply("one", "1", false); err != nil {
		return err
	}
	_, err := apply("two", "2", false)
	if !errors.IsConflict(err) {
		return fmt.Errorf("the second manager: %v, wanted Conflict", err)
	}
	causes := err.(errors.APIStatus).Status().Details.Causes
	if err := first(equal("causes", len(causes), 1), equal("type", causes[0].Type, metav1.CauseTypeFieldManagerConflict),
		equal("field", causes[0].Field, ".data.x"), equal("message", causes[0].Message, `conflict with "one"`)); err != nil {
		return err
	}
	if _, err := apply("two", "2", true); err != nil {
		return err
	}
	_, err = apply("one", "1", false)
	seen, again := api.Get(s.ctx, "contested", metav1.GetOptions{})
	return first(again, equal("ownership moved", errors.IsConflict(err), true), equal("x", seen.Data["x"], "2"), equal("what is no one else's stays", seen.Data["one"], "mine"))
}

func updateConflict(s *session) error {
	api := s.kube.CoreV1().ConfigMaps(s.namespace)
	old, err := s.configMap("locked", map[string]string{"n": "0"}, nil)
	if err != nil {
		return err
	}
	newer := old.DeepCopy()
	newer.Data["n"] = "1"
	if _, err := api.Update(s.ctx, newer, metav1.UpdateOptions{}); err != nil {
		return err
	}
	_, err = api.Update(s.ctx, old, metav1.UpdateOptions{})
	if !errors.IsConflict(err) || !strings.Contains(err.Error(), "the object has been modified; please apply your changes to the latest version and try again") {
		return fmt.Errorf("a stale update: %v", err)
	}
	uid := types.UID("other")
	err = api.Delete(s.ctx, "locked", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if !errors.IsConflict(err) {
		return fmt.Errorf("a delete of another: %v", err)
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		current, err := api.Get(s.ctx, "locked", metav1.GetOptions{})
		if err != nil {
			return err
		}
		current.Data["n"] += "!"
		_, err = api.Update(s.ctx, current, metav1.UpdateOptions{})
		return err
	})
}

// A shared informer lists, watches, and finds its way back over a crash of the server.
func watchOverRestart(s *session) error {
	factory := informers.NewSharedInformerFactoryWithOptions(s.kube, 0, informers.WithNamespace(s.namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "step=watch" }))
	informer := factory.Core().V1().ConfigMaps()
	events := make(chan string, 100)
	tell := func(verb string) func(any) {
		return func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			events <- verb + " " + object.(*corev1.ConfigMap).Name
		}
	}
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell("added"), DeleteFunc: tell("deleted"),
		UpdateFunc: func(old, object any) {
			if old.(*corev1.ConfigMap).ResourceVersion != object.(*corev1.ConfigMap).ResourceVersion {
				tell("updated")(object)
			}
		},
	})
	if err != nil {
		return err
	}
	labels := map[string]string{"step": "watch"}
	if _, err := s.configMap("before", nil, labels); err != nil {
		return err
	}
	factory.Start(s.ctx.Done())
	factory.WaitForCacheSync(s.ctx.Done())
	expect := func(wanted string) error {
		select {
		case seen := <-events:
			return equal("the next event", seen, wanted)
		case <-time.After(patience):
			return fmt.Errorf("no event; wanted %q", wanted)
		}
	}
	api := s.kube.CoreV1().ConfigMaps(s.namespace)
	if err := expect("added before"); err != nil {
		return err
	}
	if _, err := s.configMap("second", nil, labels); err != nil {
		return err
	}
	if err := expect("added second"); err != nil {
		return err
	}
	s.restart()
	if err := api.Delete(s.ctx, "before", metav1.DeleteOptions{}); err != nil {
		return err
	}
	if err := expect("deleted before"); err != nil {
		return err
	}
	if _, err := s.configMap("after", nil, labels); err != nil {
		return err
	}
	if err := expect("added after"); err != nil {
		return err
	}
	if _, err := api.Patch(s.ctx, "second", types.MergePatchType, []byte(`{"data":{"x":"1"}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	return expect("updated second")
}
