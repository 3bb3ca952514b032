package main

import (
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// What Helm, Flux and Argo CD make of a resource: an object as JSON on stdin; its status (Current, InProgress, Failed,
// Terminating, NotFound, Unknown) in the first line of stdout, and the message in the second.
func kstatus() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return fmt.Errorf("kstatus: reading stdin: %w", err)
	}
	object := unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return fmt.Errorf("kstatus: stdin must hold one object as JSON, as kubectl get -o json prints it: %w", err)
	}
	result, err := status.Compute(&object)
	if err != nil {
		return fmt.Errorf("kstatus: %w", err)
	}
	fmt.Printf("%s\n%s\n", result.Status, result.Message)
	return nil
}
