package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "clients.pintle.dev/farewell"

var greetings = schema.GroupVersionKind{Group: "go.clients.pintle.dev", Version: "v1", Kind: "Greeting"}

// reconciler keeps a ConfigMap with the words of each Greeting, and writes a farewell before one goes.
type reconciler struct{ client.Client }

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	greeting := &unstructured.Unstructured{}
	greeting.SetGroupVersionKind(greetings)
	if err := r.Get(ctx, request.NamespacedName, greeting); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !greeting.GetDeletionTimestamp().IsZero() {
		farewell := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: request.Namespace, Name: request.Name + "-farewell"}}
		if err := r.Create(ctx, farewell); err != nil && !errors.IsAlreadyExists(err) {
			return ctrl.Result{}, err
		}
		if controllerutil.RemoveFinalizer(greeting, finalizer) {
			return ctrl.Result{}, r.Update(ctx, greeting)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(greeting, finalizer) {
		if err := r.Update(ctx, greeting); err != nil {
			return ctrl.Result{}, err
		}
	}
	words, _, _ := unstructured.NestedString(greeting.Object, "spec", "words")
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: request.Namespace, Name: request.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, made, func() error {
		made.Data = map[string]string{"words": words}
		return controllerutil.SetControllerReference(greeting, made, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	if said, _, _ := unstructured.NestedString(greeting.Object, "status", "said"); said == words {
		return ctrl.Result{}, nil
	}
	if err := unstructured.SetNestedField(greeting.Object, words, "status", "said"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Update(ctx, greeting)
}

func (s *session) define() error {
	text := apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{"words": {Type: "string"}, "said": {Type: "string"}}}
	root := apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{"spec": text, "status": text}}
	version := apiextensions.CustomResourceDefinitionVersion{Name: greetings.Version, Served: true, Storage: true,
		Schema:       &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &root},
		Subresources: &apiextensions.CustomResourceSubresources{Status: &apiextensions.CustomResourceSubresourceStatus{}}}
	definition := &apiextensions.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "greetings." + greetings.Group},
		Spec: apiextensions.CustomResourceDefinitionSpec{Group: greetings.Group, Scope: apiextensions.NamespaceScoped,
			Names:    apiextensions.CustomResourceDefinitionNames{Plural: "greetings", Singular: "greeting", Kind: greetings.Kind, ListKind: "GreetingList"},
			Versions: []apiextensions.CustomResourceDefinitionVersion{version}}}
	c, err := client.New(s.config, client.Options{Scheme: operatorScheme()})
	if err != nil {
		return err
	}
	if err := c.Create(s.ctx, definition); err != nil {
		return err
	}
	return s.eventually("the definition is established", func() (bool, error) {
		if err := c.Get(s.ctx, client.ObjectKeyFromObject(definition), definition); err != nil {
			return false, err
		}
		for _, condition := range definition.Status.Conditions {
			if condition.Type == apiextensions.Established && condition.Status == apiextensions.ConditionTrue {
				return true, nil
			}
		}
		return false, fmt.Errorf("%v", definition.Status.Conditions)
	})
}

func operatorScheme() *runtime.Scheme {
	all := runtime.NewScheme()
	must(scheme.AddToScheme(all))
	must(apiextensions.AddToScheme(all))
	return all
}

func (s *session) startOperator() error {
	log.SetLogger(zap.New(zap.UseDevMode(false)))
	manager, err := ctrl.NewManager(s.config, ctrl.Options{Scheme: operatorScheme(), Metrics: server.Options{BindAddress: "0"},
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{s.namespace: {}}}})
	if err != nil {
		return err
	}
	greeting := &unstructured.Unstructured{}
	greeting.SetGroupVersionKind(greetings)
	if err := ctrl.NewControllerManagedBy(manager).For(greeting).Owns(&corev1.ConfigMap{}).Complete(&reconciler{manager.GetClient()}); err != nil {
		return err
	}
	go func() { must(manager.Start(s.ctx)) }()
	return nil
}

func (s *session) greet(name, words string) error {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"words": words}}}
	object.SetGroupVersionKind(greetings)
	object.SetName(name)
	_, err := s.greetings().Create(s.ctx, object, metav1.CreateOptions{})
	return err
}

// said waits until both the ConfigMap and the status have the words.
func (s *session) said(name, words string) error {
	return s.eventually(name+" says "+words, func() (bool, error) {
		greeting, err := s.greetings().Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		status, _, _ := unstructured.NestedString(greeting.Object, "status", "said")
		made, err := s.kube.CoreV1().ConfigMaps(s.namespace).Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if status != words || made.Data["words"] != words {
			return false, fmt.Errorf("status %q, ConfigMap %q", status, made.Data["words"])
		}
		return true, nil
	})
}

func operator(s *session) error {
	for _, act := range []func() error{
		s.define, s.startOperator,
		func() error { return s.greet("hello", "good day") },
		func() error { return s.said("hello", "good day") },
	} {
		if err := act(); err != nil {
			return err
		}
	}
	if _, err := s.greetings().Patch(s.ctx, "hello", types.MergePatchType, []byte(`{"spec":{"words":"good evening"}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := s.said("hello", "good evening"); err != nil {
		return err
	}
	// What it owns comes back.
	if err := s.kube.CoreV1().ConfigMaps(s.namespace).Delete(s.ctx, "hello", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return s.said("hello", "good evening")
}

// The operator's caches come back after a crash of the server; then its Greeting goes, and garbage collection takes what it owned.
func operatorOverRestart(s *session) error {
	s.restart()
	if err := s.greet("again", "still here"); err != nil {
		return err
	}
	if err := s.said("again", "still here"); err != nil {
		return err
	}
	if err := s.greetings().Delete(s.ctx, "again", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return s.eventually("the farewell and nothing else is left", func() (bool, error) {
		_, greeting := s.greetings().Get(s.ctx, "again", metav1.GetOptions{})
		_, made := s.kube.CoreV1().ConfigMaps(s.namespace).Get(s.ctx, "again", metav1.GetOptions{})
		_, farewell := s.kube.CoreV1().ConfigMaps(s.namespace).Get(s.ctx, "again-farewell", metav1.GetOptions{})
		if errors.IsNotFound(greeting) && errors.IsNotFound(made) && farewell == nil {
			return true, nil
		}
		return false, fmt.Errorf("Greeting: %v, ConfigMap: %v, farewell: %v", greeting, made, farewell)
	})
}

func (s *session) greetings() dynamic.ResourceInterface {
	return s.dynamic.Resource(greetings.GroupVersion().WithResource("greetings")).Namespace(s.namespace)
}
