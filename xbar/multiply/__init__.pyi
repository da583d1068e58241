from .reference import mvm_reference as mvm_reference
