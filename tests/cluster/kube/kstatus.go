package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// What Helm, Flux and Argo CD make of a resource: an object as JSON on stdin; its status (Current, InProgress, Failed,
// Terminating, NotFound, Unknown) in the first line of stdout, and the message in the second.
func kstatus() error {
	object := unstructured.Unstructured{}
	if err := json.NewDecoder(os.Stdin).Decode(&object.Object); err != nil {
		return fmt.Errorf("kstatus: stdin must hold one object as JSON, as kubectl get -o json prints it: %w", err)
	}
	if object.GetKind() == "" || object.GetAPIVersion() == "" {
		return errors.New("kstatus: the object on stdin has no kind or no apiVersion")
	}
	result, err := status.Compute(&object)
	if err != nil {
		return fmt.Errorf("kstatus: %w", err)
	}
	fmt.Printf("%s\n%s\n", result.Status, result.Message)
	return nil
}
